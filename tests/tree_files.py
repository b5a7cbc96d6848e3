"""The files that a commit of the working tree, as it is now, would hold."""

import os
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path


def tree_files(root: Path) -> list[str]:
    """The paths of all files from `root`, those that .gitignore names left out. git
    lists them; in an unpacked release, which is no repository, the folders are walked.
    """
    if (root / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others"]
        command.append("--exclude-standard")
        output = subprocess.check_output(command, cwd=root, text=True)
        names = {name for name in output.split("\0") if (root / name).is_file()}
    else:
        names = set(walk(root, ignored_patterns(root)))
    return sorted(names)


def ignored_patterns(root: Path) -> list[str]:
    """The lines of .gitignore. Only the forms that ours has are understood: patterns of
    names, with `/` before them for the root alone, with `/` behind them for folders.
    """
    path = root / ".gitignore"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    patterns = [line.strip() for line in lines if line.strip()]
    for pattern in patterns:
        if pattern.startswith(("!", "#")) or "/" in pattern.strip("/"):
            raise ValueError(f".gitignore: `{pattern}` is not of a form known here")
    return patterns


def walk(root: Path, patterns: list[str]) -> Iterator[str]:
    """The files below `root` that no pattern ignores."""
    for folder, folders, files in os.walk(root):
        at_root = Path(folder) == root
        folders[:] = [
            name for name in folders if not ignored(name, patterns, at_root, True)
        ]
        for name in files:
            if not ignored(name, patterns, at_root, False):
                yield (Path(folder) / name).relative_to(root).as_posix()


def ignored(name: str, patterns: list[str], at_root: bool, is_folder: bool) -> bool:
    """Whether one of the patterns is for a file or folder of this name."""
    for pattern in patterns:
        if pattern.startswith("/") and not at_root:
            continue
        if pattern.endswith("/") and not is_folder:
            continue
        if fnmatch(name, pattern.strip("/")):
            return True
    return False
