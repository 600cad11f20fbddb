# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# Roots of Debian's releases. Sourced after tools/lib.sh; takes root.

# Debian's keys are named, because not every release trusts those of the other by itself.
debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

other_release() { if [ "$(release_here)" = bookworm ]; then echo trixie; else echo bookworm; fi; }

# Where this machine's own apt gets a suite from. Nothing if it does not.
mirror_of() {
    # shellcheck disable=SC2016 # apt replaces these
    apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' |
        awk -v codename="$1" '$1 == codename && !found {print $2; found = 1}'
}

# sources.list for suites, on the mirrors that this machine uses.
sources_of() {
    local suite here archive mirror
    here=$(release_here)
    # The names of the mirrors are in the lists, which a fresh machine has not got.
    [ -n "$(mirror_of "$here")" ] || apt-get update -qq >&2
    for suite in "$@"; do
        archive=$here
        case $suite in *-security) archive=$here-security ;; esac
        mirror=$(mirror_of "$archive")
        if [ -n "$mirror" ]; then
            echo "deb [signed-by=$debian_keyring] $mirror $suite main"
        elif [ "$archive" = "$here" ]; then
            die "this machine's apt has no mirror of Debian"
        fi
    done
}

# A fresh Debian in a directory: make_root DIRECTORY RELEASE PACKAGE,PACKAGE... [SUITE...]; SUITEs beside those
# that every machine has. The kernels in it are never to be booted by a loader.
make_root() {
    local directory=$1 release=$2 packages=$3 sources
    shift 3
    sources=$(sources_of "$release" "$release-updates" "$release-security" "$@") || return
    INITRD=No mmdebstrap --mode=root --variant=apt --skip=cleanup/apt --aptopt='APT::Install-Recommends "false"' \
        --include="$packages" "$release" "$directory" - <<<"$sources" || return
    # As the installer leaves it.
    printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' >"$directory/etc/hosts"
}

# What programs in a root expect to be there. Goes with the mount namespace, or with close_root.
open_root() {
    mount -t proc proc "$1/proc"
    mount --rbind /sys "$1/sys"
    mount --rbind /dev "$1/dev"
    mount -t tmpfs run "$1/run"
}

# What is mounted in it is not touched when it is removed.
close_root() {
    local directory
    for directory in run dev sys proc; do umount -R -l "$1/$directory"; done
}

# Runs a command in a root, with nothing of the caller's environment.
in_root() {
    local directory=$1
    shift
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        DEBIAN_FRONTEND=noninteractive INITRD=No JOBS="${JOBS:-$(nproc)}" chroot "$directory" "$@"
}

# The newest kernel of a series whose headers the suites of a root have: newest_kernel ROOT 6.12
newest_kernel() {
    in_root "$1" apt-cache --names-only search "^linux-headers-${2/./\\.}\\.[0-9].*-cloud-amd64\$" |
        sed 's/^linux-headers-\([^ ]*\) .*/\1/' | sort -V | tail -n 1
}
