# shellcheck shell=bash disable=SC2154
# ($root is the caller's.)
# SPDX-License-Identifier: MIT
# What the tools share. Sourced; expects `set -eu` and $root, the top of the source tree.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# Runs a command as root, if need be through sudo. Never asks for a password where nobody can type it.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif ! command -v sudo >/dev/null; then
        return 126
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

# This machine's release of Debian. What is neither of the two that we know is taken for the newer one.
release_here() {
    if grep -q '^VERSION_CODENAME=bookworm$' /etc/os-release 2>/dev/null; then echo bookworm; else echo trixie; fi
}

# The packages of the groups named, from tools/packages.
packages_of() {
    local group package only here
    here=$(release_here)
    while read -r group package only; do
        [ "${only:-$here}" = "$here" ] || continue
        case " $* " in
            *" $group "*) printf '%s\n' "$package" ;;
        esac
    done < <(grep -v '^#' "$root/tools/packages") | sort -u
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# A package that starts a service should not do so on a machine that was only to try something out:
# policy-rc.d is where Debian asks. Ours goes again, and an administrator's own stays.
apt_install() {
    local policy=/usr/sbin/policy-rc.d ours='' status=0
    if [ ! -e "$policy" ]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' | as_root sh -c "cat >$policy && chmod 755 $policy" || return
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" ||
        status=$?
    if [ -n "$ours" ]; then as_root rm -f "$policy"; fi
    return "$status"
}

# Installs what is missing of the groups named. Says nothing where nothing is.
install_missing() {
    local package missing=()
    command -v dpkg-query >/dev/null || {
        say "this is no Debian: install by hand what tools/packages lists ($*), if it is not there"
        return 0
    }
    for package in $(packages_of "$@"); do
        is_installed "$package" || missing+=("$package")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    say "installing ${missing[*]}"
    if ! { as_root apt-get update -qq && apt_install "${missing[@]}"; } </dev/null >&2; then
        die "could not install them. As root: apt-get install ${missing[*]}"
    fi
}

# git in this tree, which may be another user's: git would not touch it then.
git_here() { git -c safe.directory='*' -C "$root" "$@"; }

# What belongs to the project, whether committed or not.
list_files() {
    local file
    if git_here rev-parse --git-dir >/dev/null 2>&1; then
        git_here ls-files --cached --others --exclude-standard
    else
        (cd "$root" && find . \( -path './build*' -o -path ./.git \) -prune -o -type f -printf '%P\n')
    fi | while IFS= read -r file; do [ ! -e "$root/$file" ] || printf '%s\n' "$file"; done
}

# How unshare(1) is to treat "/": in a chroot it may be no mount point, and then cannot be made private.
propagation() { if unshare --mount true 2>/dev/null; then echo private; else echo unchanged; fi; }

# Several programs that count, one after the other: passes their output on, and adds up what they counted.
add_counts() {
    awk '
        /^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { passed += $1; failed += $3; skipped += $5; next }
        { print; fflush() }
        END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }'
}

# Without /dev/fuse nothing here can be mounted; the reason is better said early.
need_fuse() {
    [ -e /dev/fuse ] || as_root modprobe fuse 2>/dev/null || true
    if [ ! -e /dev/fuse ]; then
        say 'there is no /dev/fuse, so no file system can be served from user space here.'
        say 'On a machine of its own: modprobe fuse. A container has to be given the device, with'
        die 'the right to mount: for docker, --device /dev/fuse --cap-add SYS_ADMIN.'
    fi
    if ! : 2>/dev/null <>/dev/fuse; then
        die '/dev/fuse is there, but may not be opened: this container, or its device rules, forbid it.'
    fi
}

# Sets up (once) and builds: build_in DIRECTORY TARGET|all [MESON OPTION...]
build_in() {
    local directory=$1 target=$2 parallel=()
    shift 2
    if [ ! -e "$directory/build.ninja" ]; then
        rm -rf "$directory"
        meson setup "$directory" "$root" "$@" || return
    fi
    if [ -n "${JOBS:-}" ]; then parallel=(-j "$JOBS"); fi
    if [ "$target" = all ]; then
        ninja -C "$directory" "${parallel[@]}"
    else
        ninja -C "$directory" "${parallel[@]}" "$target"
    fi
}
