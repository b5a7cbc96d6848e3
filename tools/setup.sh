#!/bin/sh
# Makes .venv fit: with what requirements.txt and pyproject.toml ask for, in this folder, by a Python that is there.
# The Makefile asks at every command. .venv/ready holds, word for word, what .venv was made for; where that still is so,
# nothing is done. Whatever goes wrong ends in one sentence that says what to do.
set -u
cd "$(dirname "$0")/.." || exit 1
place=$(pwd -P)
log=.venv/setup.log

needed() {
    # What .venv has to fit. A Python that does not run any more says nothing here, and so fits nothing.
    echo "place: $place"
    .venv/bin/python -I -S -c 'import sys; print("python:", sys.base_prefix, *sys.version_info[:2])' 2>/dev/null
    cat requirements.txt
    # Of pyproject.toml what pip reads; the settings of other tools change nothing that is installed.
    awk '/^\[/ { read = /^\[(build-system|project|tool\.setuptools)/ } read' pyproject.toml
}

is_ready() {
    [ -f .venv/ready ] && [ "$(needed)" = "$(cat .venv/ready)" ]
}

is_ready && exit 0

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

usable() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

fits() {
    # Whether .venv is an environment of a Python that will do, with pip, and was made at this place: the first lines
    # of pip's own script say where. (A folder that was moved or copied would run the code of the other place.)
    usable .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1 || return 1
    case "$(head -n 2 .venv/bin/pip)" in
        "#!$place/.venv/bin/"* | *"exec' $place/.venv/bin/"* | *"exec' \"$place/.venv/bin/"*) ;;
        *) return 1 ;;
    esac
}

python=${PYTHON_FOR_VENV:-}
if [ -z "$python" ]; then
    for candidate in python3.11 python3.12 python3.13 python3 python; do
        if usable "$candidate"; then
            # In an activated .venv this is the Python that it was made by: the one in it may be about to go.
            python=$("$candidate" -c 'import sys; print(sys._base_executable)')
            break
        fi
    done
fi
[ -n "$python" ] || stop "no Python 3.11 or newer was found. Install one (python.org, or your system's package manager), then run the same command again."

# One set-up at a time. Not by flock(1), which macOS lacks, but by Python's, which then becomes this script again: the
# lock goes when the script and what it started have ended, however they end.
if [ "${1:-}" != locked ]; then
    PYTHON_FOR_VENV=$python exec "$python" -c '
import fcntl, os, signal, sys
for number in (signal.SIGINT, signal.SIGPIPE):
    signal.signal(number, signal.SIG_DFL)  # Python has changed them, and exec would hand that on
try:
    lock = os.open(".venv.lock", os.O_CREAT | os.O_RDWR)
except OSError as error:
    sys.exit(f"set-up stopped: this folder cannot be written to ({error.strerror}).")
os.set_inheritable(lock, True)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print("Another command is setting up .venv. Waiting for it.", flush=True)
    fcntl.flock(lock, fcntl.LOCK_EX)
except OSError:
    pass  # a file system without locks
os.execvp("sh", ["sh", "tools/setup.sh", "locked"])
'
fi
is_ready && exit 0  # the other one has done it

rm -f .venv/ready
if ! fits; then
    if [ -e .venv ] || [ -L .venv ]; then
        echo "The .venv here is incomplete, or was made in another folder or by another Python. It is made anew."
        rm -rf .venv || stop "the old .venv cannot be removed. Remove it by hand, then run the same command again."
    fi
    "$python" -m venv .venv >/dev/null 2>&1 \
        || stop "'$python -m venv .venv' failed: is this folder writable, the disk not full, and Python's venv module there (on Debian and Ubuntu: apt install python3-venv)?"
fi

echo "Installing the book's packages into .venv: some minutes the first time, about 2 GB."
.venv/bin/python -m pip install --disable-pip-version-check -r requirements.txt >"$log" 2>&1 || explain
# No isolation and no dependencies: what the build needs is pinned and installed just above.
.venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e . >>"$log" 2>&1 || explain
needed >.venv/ready.part && mv .venv/ready.part .venv/ready || stop "the disk is full. Make room and run the same command again."
