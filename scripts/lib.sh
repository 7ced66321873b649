# What the scripts have in common. Sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-target}
[[ $target == /* ]] || target=$root/$target

say() { printf '%s\n' "$*" >&2; }
fail() { say "${0##*/}: $*"; exit 1; }

# has_postgres: where `local-cluster` looks for it, too.
has_postgres() {
  { command -v initdb && command -v postgres; } >/dev/null ||
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
    compgen -G '/usr/pgsql-*/bin/initdb' >/dev/null
}

# install PACKAGE...: from the distribution, when that can be done without asking anybody.
install() {
  if [[ $EUID != 0 ]] || ! command -v apt-get >/dev/null; then
    fail "missing: $*. Install it with your package manager, on Debian and Ubuntu: sudo apt-get install $*"
  fi
  say "Installing $* ..."
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"; } </dev/null >/dev/null ||
    fail "apt-get could not install $*"
}

need_postgres() {
  has_postgres && return
  # Debian's package would start a server of its own; nobody has asked for one.
  local settings=/etc/postgresql-common/createcluster.d outcome=0
  if [[ $EUID == 0 && -d /etc/apt ]]; then
    mkdir -p "$settings"
    echo 'create_main_cluster = false' >"$settings/no-server.conf"
  fi
  (install postgresql) || outcome=$?
  if [[ -f $settings/no-server.conf ]]; then
    rm "$settings/no-server.conf"
    rmdir --ignore-fail-on-non-empty "$settings"
  fi
  [[ $outcome == 0 ]] || exit "$outcome"
  has_postgres || fail "Postgres was installed, but there is no initdb in /usr/lib/postgresql"
}

need_rust() {
  command -v cargo >/dev/null || fail "cargo is missing; install Rust from https://rustup.rs and open a new shell"
  command -v cc >/dev/null || install gcc libc6-dev
}

# build ARGUMENT...: `cargo build`, silent when there is nothing to do.
build() {
  (cd "$root" && SQLX_OFFLINE=true cargo build --locked "$@" 2>&1 | { grep -v '^ *Finished ' >&2 || true; }) ||
    fail "the build has failed; see above"
}
