#!/bin/sh
# Makes .venv from requirements.txt, and .venv/ready when it is complete. The Makefile calls it where one
# of the two is newer than the other. Whatever goes wrong ends in one sentence that says what to do.
set -u
cd "$(dirname "$0")/.." || exit 1
log=.venv/setup.log

stop() {
    echo "set-up stopped: $1" >&2
    exit 1
}

explain() {
    # The cause that pip names, in the order in which one cause can hide another.
    case "$(cat "$log")" in
        *"No space left"*) stop "the disk is full. The set-up needs about 3 GB in this folder and in the temporary folder (TMPDIR); make room and run the same command again." ;;
        *"DO NOT MATCH THE HASHES"*) stop "a downloaded package does not have the hash that is expected. Run the same command again; if it happens twice, report it and do not install that package. Details: $log" ;;
        *"NewConnectionError"* | *"Temporary failure in name resolution"* | *"Network is unreachable"* | *"ConnectTimeout"* | *"Read timed out"* | *"ProxyError"* | *"Connection refused"*)
            stop "pip could not reach its package index. The first run needs a network; later runs do not. Details: $log" ;;
        *"Permission denied"* | *"Read-only file system"*) stop "this folder cannot be written to. Details: $log" ;;
        *"No matching distribution found for"*)
            stop "$(grep -o 'No matching distribution found for [^ ]*' "$log" | tail -n 1). Either pip cannot reach its package index, or there is no build for this Python ($("$python" -V)) and machine ($(uname -sm)). Details: $log" ;;
        *) stop "pip failed. Its last words: $(tail -n 1 "$log"). All of them: $log" ;;
    esac
}

python=${PYTHON_FOR_VENV:-}
if [ -z "$python" ]; then
    for candidate in python3.11 python3.12 python3.13 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
[ -n "$python" ] || stop "no Python 3.11 or newer was found. Install one (python.org, or your system's package manager), then run the same command again."

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    # Half an environment, left by an interruption, is made anew.
    rm -rf .venv
    "$python" -m venv .venv >/dev/null 2>&1 \
        || stop "'$python -m venv .venv' failed: is this folder writable, the disk not full, and Python's venv module there (on Debian and Ubuntu: apt install python3-venv)?"
fi

echo "Installing the book's packages into .venv: some minutes the first time, about 2 GB."
.venv/bin/python -m pip install --disable-pip-version-check -r requirements.txt >"$log" 2>&1 || explain
# No isolation and no dependencies: what the build needs is pinned and installed just above.
.venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e . >>"$log" 2>&1 || explain
touch .venv/ready
