# shellcheck shell=bash
# setup.sh - what the other scripts share; they source it. It makes the machine
# and the tree ready: Debian's packages, node, npm's packages, builds. Each part
# looks first and does nothing when there is nothing to do.

set -u -o pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
setup=$root/build-setup # logs, locks, stamps
mkdir -p "$setup" || exit 1
log=$setup/$(basename "$0").log
: >"$log" || exit 1

# Debian's packages: what the server is built with, ...
build_packages=(meson ninja-build pkg-config gcc libc6-dev libevent-dev
	libcjson-dev libnanomsg-dev libsqlite3-dev libwslay-dev
	libhttp-parser-dev nettle-dev libconfuse-dev libbsd-dev check procps)

# The oldest node that the page's tools run on, and the one to fetch if Debian's
# is older.
node_oldest=20.19
node_pinned=20.20.2

say() {
	printf '%s\n' "$*" >&2
}

die() {
	say "$(basename "$0"): $*"
	exit 1
}

# step NAME COMMAND...: one line with the time it took. What the command says
# goes to the log and is shown only when it fails.
step() {
	local name=$1 from=$EPOCHREALTIME out status
	shift
	out=$(mktemp "$setup/step.XXXXXX") || exit 1
	printf '  %-40s' "$name" >&2
	printf -- '---- %s: %s\n' "$name" "$*" >>"$log"
	"$@" >"$out" 2>&1 </dev/null
	status=$?
	cat "$out" >>"$log"
	if [ $status -eq 0 ]; then
		printf '%6.1f s\n' "$(seconds_since "$from")" >&2
	else
		printf 'failed\n' >&2
		tail -n 60 "$out" | sed 's/^/  | /' >&2
		say "  the whole log: $log"
	fi
	rm -f "$out"
	return $status
}

seconds_since() {
	local us=$((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}))
	printf '%d.%03d' $((us / 1000000)) $((us / 1000 % 1000))
}

# Two of us in one tree wait for each other. The lock goes with the shell.
setup_lock() {
	exec 9>"$setup/lock"
	flock -n 9 && return
	say "  another script prepares this tree; waiting for it"
	flock 9
}

setup_unlock() {
	exec 9>&-
}

# ---- Debian ----

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo "$@"
	fi
}

missing_packages() {
	local package have
	have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" \
		2>/dev/null | sed -n 's/^installed //p')
	for package in "$@"; do
		grep -qxF -- "$package" <<<"$have" || echo "$package"
	done
}

apt_install() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get \
		-o DPkg::Lock::Timeout=300 -q -y \
		install --no-install-recommends "$@"
}

apt_update() {
	as_root apt-get -o DPkg::Lock::Timeout=300 -q update
}

setup_packages() {
	local missing
	mapfile -t missing < <(missing_packages "$@")
	[ ${#missing[@]} -eq 0 ] && return
	command -v apt-get >/dev/null ||
		die "this machine has no apt-get; install: ${missing[*]}"
	if [ "$(id -u)" -ne 0 ]; then
		command -v sudo >/dev/null || die "these packages are missing" \
			"and there is no sudo; as root: apt-get install ${missing[*]}"
		# Asked for here, while the terminal is still ours.
		sudo -v || die "sudo is needed for: apt-get install ${missing[*]}"
	fi
	step "package lists" apt_update || exit 1
	step "packages: ${#missing[@]} to install" \
		apt_install "${missing[@]}" || exit 1
}

# ---- node ----

node_is_fine() {
	local version
	version=$("$1" --version 2>/dev/null) || return
	printf '%s\n' "v$node_oldest" "$version" | sort -V -C
}

install_node() {
	rm -rf "$setup/node"
	mkdir -p "$setup/node" &&
		npm install --prefix "$setup/node" --no-save --no-audit \
			--no-fund --no-update-notifier "node@$node_pinned"
}

# Debian's packages for it, where it does not come from elsewhere.
node_packages() {
	command -v node >/dev/null || echo nodejs
	command -v npm >/dev/null || echo npm
}

# Debian 12's node is too old for the page's tools: then npm's own package of
# it, below build-setup, for these scripts only.
setup_node() {
	local own=$setup/node/node_modules/node/bin
	local certificates=/etc/ssl/certs/ca-certificates.crt
	node_is_fine node && return
	if ! node_is_fine "$own/node"; then
		step "node $node_pinned" install_node || exit 1
		node_is_fine "$own/node" ||
			die "npm's package node does not run on this machine"
	fi
	PATH=$own:$PATH
	# Debian's trusts what the machine trusts; so shall this one.
	if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -r "$certificates" ]; then
		export NODE_EXTRA_CA_CERTS=$certificates
	fi
}

npm_ci() {
	(cd "$1" && npm ci --no-audit --no-fund --no-update-notifier)
}

# setup_npm DIRECTORY NAME: its packages, when the lock file is another one than
# that of the last time.
setup_npm() {
	local stamp=$1/node_modules/.bennu-lock
	cmp -s "$1/package-lock.json" "$stamp" && return
	step "npm packages of $2" npm_ci "$1" || exit 1
	cp "$1/package-lock.json" "$stamp"
}

# ---- builds ----

meson_setup() {
	local dir=$1
	shift
	meson setup "$@" "$dir" "$root"
}

# setup_configure DIRECTORY NAME MESON-ARGUMENTS...
# A build directory whose arguments are others than the last time is made anew.
setup_configure() {
	local dir=$root/$1 name=$2 stamp
	shift 2
	stamp=$dir/.bennu-arguments
	if [ -f "$dir/build.ninja" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$*" ]; then
		# Meson looks again only where its files have changed.
		ninja -C "$dir" build.ninja >>"$log" 2>&1 ||
			die "meson is not content; see $log"
		return
	fi
	rm -rf "$dir"
	step "configure the $name" meson_setup "$dir" "$@" || exit 1
	printf '%s\n' "$*" >"$stamp"
}

# setup_compile DIRECTORY NAME TARGETS...
setup_compile() {
	local dir=$root/$1 name=$2
	shift 2
	ninja -C "$dir" -n "$@" 2>/dev/null | grep -q 'no work to do' ||
		step "build the $name" ninja -C "$dir" "$@" || exit 1
}

# setup_build DIRECTORY NAME "TARGETS" MESON-ARGUMENTS...
setup_build() {
	local dir=$1 name=$2 targets=$3
	shift 3
	setup_configure "$dir" "$name" "$@"
	# shellcheck disable=SC2086 # a list of words
	setup_compile "$dir" "$name" $targets
}

# The modules of the demo, however many there are.
demo_modules() {
	sed -n 's/^build \(demo\/[a-z_]*\.so\):.*/\1/p' "$root/build/build.ninja"
}

page_is_new() {
	[ -f "$1/dist/index.html" ] && [ -z "$(find "$1" \
		\( -name node_modules -o -name dist \) -prune -o \
		-type f -newer "$1/dist/index.html" -print -quit)" ]
}

build_page() {
	(cd "$1" && npm run build --no-update-notifier && touch dist/index.html)
}

# The page of the demo: React and Vite, bundled.
setup_page() {
	local dir=$root/demo/web
	setup_npm "$dir" "the page"
	page_is_new "$dir" || step "build the page" build_page "$dir" || exit 1
}

# setup_secret FILE: what the demo signs tokens with, unless there is one.
setup_secret() {
	local new
	[ ! -s "$1" ] || return 0
	new=$(umask 077 && mktemp "$1.XXXXXX") || exit 1
	if ! head -c 48 /dev/urandom | base64 -w 0 >"$new" ||
		! mv "$new" "$1"; then
		die "cannot make $1"
	fi
}

# All that the demo needs.
setup_demo() {
	setup_lock
	# shellcheck disable=SC2046 # a list of words
	setup_packages "${build_packages[@]}" $(node_packages)
	setup_node
	setup_configure build server
	# shellcheck disable=SC2046 # a list of words
	setup_compile build server supervisor/supervisor supervisor/bennu \
		$(demo_modules)
	setup_page
	setup_unlock
}

# setup_fuzz TARGETS...: those of tests/fuzz.
setup_fuzz() {
	setup_lock
	setup_packages "${build_packages[@]}" clang libclang-rt-14-dev
	CC=clang setup_build build-fuzz fuzzers \
		"$(printf 'tests/fuzz/fuzz_%s ' "$@")" \
		-Dfuzz=true -Db_lundef=false
	setup_unlock
}

fuzz_targets() {
	find "$root/tests/fuzz" -name 'fuzz_*.c' -printf '%f\n' |
		sed 's/^fuzz_//; s/\.c$//' | sort
}

# What is measured: optimized, without sanitizers; asserts stay on.
setup_release() {
	setup_lock
	setup_packages "${build_packages[@]}"
	setup_build build-release "server to measure" \
		"supervisor/supervisor bench/bench.so" -Doptimization=2 \
		-Ddebug=false
	setup_unlock
}
