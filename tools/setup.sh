#!/bin/sh
# Make .venv with everything organtwin needs, on a fresh Debian or Ubuntu machine.
#
#   sh tools/setup.sh          what `make rehearse` needs
#   sh tools/setup.sh test     and what the tests need besides
#
# Nothing is done twice: a stamp in .venv holds a checksum of what the set-up depends on. A set-up that was
# interrupted leaves no stamp, and the next run carries on.
set -u
cd "$(dirname "$0")/.." || exit 1
want=${1:-run}
venv=.venv
python=$venv/bin/python

say() { printf '%s\n' "organtwin set-up: $*" >&2; }
fail() { say "$*"; exit 1; }
trap 'say "stopped; run the same command again to carry on"; exit 130' INT TERM

# --- a second run starts at once ---------------------------------------------------------------------------
checksum=$(cat pyproject.toml constraints.txt tools/setup.sh | cksum | cut -d' ' -f1)
stamped() { [ "$(cat "$venv/stamp-$1" 2>/dev/null)" = "$checksum" ] && "$python" -c '' 2>/dev/null; }
if stamped "$want"; then exit 0; fi

# --- Debian packages, where this user may install them ------------------------------------------------------
# With root or password-less sudo the packages are installed; else the one line to type is printed.
as_root=
[ "$(id -u)" = 0 ] || as_root='sudo -n'
may_install() { command -v apt-get >/dev/null 2>&1 && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; }
updated=
install_packages() { # PACKAGES...
  may_install || return 1
  say "installing $* with apt-get"
  if [ -z "$updated" ]; then $as_root apt-get update -qq >/dev/null 2>&1; updated=yes; fi
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1
}
need_packages() { # WHY PACKAGES...
  why=$1; shift
  install_packages "$@" || fail "$why Type this, then run the same command again:  sudo apt-get install -y $*"
}

# --- a Python that really runs ------------------------------------------------------------------------------
# pyenv leaves shims on PATH that refuse to run, and Debian's own may lack venv: so each candidate is tried.
runs() {
  "$1" -c 'import sys, venv, ensurepip, ctypes, ssl, sqlite3; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1
}
# Debian 12 has no Python 3.12 of its own; uv fetches one. It lives in a folder of its own, touching nothing else.
private_uv() {
  home=${XDG_CACHE_HOME:-$HOME/.cache}/organtwin/uv
  [ -x "$home/bin/uv" ] ||
    { python3 -m venv "$home" && "$home/bin/python" -m pip install -q --disable-pip-version-check uv; } >/dev/null 2>&1
  [ -x "$home/bin/uv" ] && echo "$home/bin/uv"
}
find_python() {
  for candidate in python3.12 python3.13 python3.14 python3 python; do
    path=$(command -v "$candidate" 2>/dev/null) && runs "$path" && { echo "$path"; return; }
  done
  for version in 3.12 3.13 3.14; do
    for path in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version"*/bin/python3; do
      [ -x "$path" ] && runs "$path" && { echo "$path"; return; }
    done
  done
  uv=$(command -v uv 2>/dev/null) || uv=$(private_uv) || return 0
  path=$("$uv" python find --no-project '>=3.12' 2>/dev/null) && runs "$path" && { echo "$path"; return; }
  say "fetching Python 3.12 with uv"
  "$uv" python install -q 3.12 >&2 && path=$("$uv" python find --no-project 3.12) && runs "$path" && echo "$path"
}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then
  base=$(find_python)
  if [ -z "$base" ]; then
    install_packages python3.12 python3.12-venv python3.12-dev && base=$(find_python)
  fi
  [ -n "$base" ] || fail "no Python 3.12 or newer runs here. Install one (Ubuntu 24.04:" \
    "sudo apt-get install -y python3.12-venv python3.12-dev; elsewhere uv, pyenv or conda-forge) and run the same command again."
  say "making $venv with $("$base" --version) at $base"
  rm -rf "$venv"
  "$base" -m venv "$venv" || fail "could not make $venv; is this folder writable and the disk not full?"
fi

# --- the Python packages ------------------------------------------------------------------------------------
groups=
[ "$want" = test ] && groups='--group test'
if ! stamped run || [ -n "$groups" ]; then
  say "installing Python packages (about 2 GB on disk; a minute or two)"
  # Dependency groups need pip 25.1.
  "$python" -m pip install -q --disable-pip-version-check 'pip>=25.1' -c constraints.txt >"$venv/pip.log" 2>&1 &&
  "$python" -m pip install -q --disable-pip-version-check -e '.[desktop]' $groups -c constraints.txt >>"$venv/pip.log" 2>&1 || {
    grep -v '^WARNING' "$venv/pip.log" | tail -n 5 >&2
    fail "the packages could not be installed (above: pip's last lines; all of it in $venv/pip.log). Check the network and the disk, then run the same command again."
  }
fi

# --- a C compiler and Python's headers: finite-element kernels are compiled as they are first used -----------
command -v cc >/dev/null 2>&1 || command -v gcc >/dev/null 2>&1 || command -v clang >/dev/null 2>&1 ||
  need_packages "no C compiler was found; the solver compiles its kernels with one." gcc libc6-dev
header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")')
[ -f "$header" ] || need_packages "Python's C headers are missing ($header)." \
  "$("$python" -c 'import sys; print(f"python{sys.version_info[0]}.{sys.version_info[1]}-dev")')"

# --- the libraries that draw without a graphics card ---------------------------------------------------------
loads() { "$python" -c "import ctypes, sys; [ctypes.CDLL(n) for n in sys.argv[1:]]" "$@" 2>/dev/null; }
loads libEGL.so.1 libGL.so.1 || need_packages "the rendering libraries libEGL and libGL are missing." \
  libegl1 libgl1 libgl1-mesa-dri

# --- the window's libraries, and for tests a screen to open it on: without them the window tests skip ---------
qt_misses() {
  plugin=$("$python" -c 'import pathlib, PySide6; print(pathlib.Path(PySide6.__file__).parent / "Qt/plugins/platforms/libqxcb.so")')
  ldd "$plugin" 2>/dev/null | grep -q 'not found'
}
if [ "$want" = test ] || [ -n "${DISPLAY:-}" ]; then
  if qt_misses; then
    install_packages libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxcb-shape0 \
      libxcb-xkb1 libxkbcommon-x11-0 libxcb-xinerama0 libfontconfig1 libdbus-1-3 ||
      say "Qt's window libraries are missing; to have the window, type:  sudo apt-get install -y libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxcb-xkb1 libxkbcommon-x11-0"
  fi
fi
if [ "$want" = test ]; then
  command -v Xvfb >/dev/null 2>&1 || install_packages xvfb ||
    say "Xvfb is missing, so the window tests will skip; to run them, type:  sudo apt-get install -y xvfb"
  echo "$checksum" > "$venv/stamp-test"
fi
echo "$checksum" > "$venv/stamp-run"
