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

# cargo_tool NAME: `cargo NAME` in the version that the gate was last passed with, unless there is one.
cargo_tool() {
  local -A versions=([nextest]=0.9.143 [machete]=0.9.2 [deny]=0.19.1)
  cargo "$1" --version >/dev/null 2>&1 && return
  local how=(--debug)
  [[ $1 != nextest ]] || how=()
  say "Installing cargo-$1 ..."
  # Not optimised: that takes minutes, and machete and deny are through in seconds either way.
  cargo install --quiet "${how[@]}" "cargo-$1" --locked --version "${versions[$1]}" || fail "cargo-$1 could not be installed"
}

# build ARGUMENT...: `cargo build`, silent when there is nothing to do, with its progress in sight when there is:
# cargo's own bar in a terminal, elsewhere a line with counts every ten seconds.
build() {
  local outcome=0
  cd "$root"
  if [[ -t 2 ]]; then
    # When all is well cargo's last word is that it has finished; it is taken back.
    SQLX_OFFLINE=true cargo build --locked "$@" && printf '\e[1A\e[2K' >&2 || outcome=$?
  else
    SQLX_OFFLINE=true CARGO_TERM_PROGRESS_WHEN=always CARGO_TERM_PROGRESS_WIDTH=60 \
      cargo build --locked "$@" 2>&1 | counts || outcome=$?
  fi
  cd "$OLDPWD"
  [[ $outcome == 0 ]] || fail "the build has failed; see above"
}

# Reads what cargo says where nobody looks at a bar: warnings and errors pass, the bars become a count now and then.
# A bar ends with a carriage return and not with a line, so whoever reads it must not wait for the line.
counts() {
  local text='' part status told=$SECONDS count=''
  while :; do
    status=0
    IFS= read -r -t 10 part || status=$?
    text+=$part
    [[ $text =~ .*[^0-9]([0-9]+)/([0-9]+) ]] && count="${BASH_REMATCH[1]} of ${BASH_REMATCH[2]} crates are compiled"
    if ((status <= 128)) && [[ -n $text ]]; then
      text=${text##*$'\r'}
      text=${text#$'\e[K'}
      [[ $text =~ ^\ *(Compiling|Downloaded|Finished)\  ]] || say "$text"
      text=
    fi
    if [[ -n $count ]] && ((SECONDS - told >= 10)); then
      say "  $count"
      told=$SECONDS count=
    fi
    ((status == 0 || status > 128)) || break
  done
}
