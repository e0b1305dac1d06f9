# What installer/try, installer/test and .ci/run share: finding out which packages are missing and
# installing them, configuring and building. Sourced by bash; not a program.
#
# The rule for every function here: do nothing, quickly, where nothing is to be done; where it
# cannot go on, say in one sentence what is missing and what to do, and leave the details in a log.

root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
program=${program:-pillarbox}

say() { printf '%s: %s\n' "$program" "$*" >&2; }
die() {
  say "$*"
  exit 1
}

# Ctrl-C and kill end a command without further words, whatever it is doing.
trap 'exit 130' INT
trap 'exit 143' TERM

# Packages of the given groups, each once, in the order of packages.txt.
packages_of() {
  awk -v groups=" $* " '!/^#/ && NF >= 2 && index(groups, " " $1 " ") && !seen[$2]++ { print $2 }' \
    "$root/installer/packages.txt"
}

# Those of the given packages that are not installed.
missing_of() {
  local installed
  installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
    awk '$1 == "installed" { print $2 }') || true
  comm -23 <(printf '%s\n' "$@" | sort -u) <(printf '%s\n' "$installed" | sort -u)
}

# free_mib PATH: free space of the file system that holds it.
free_mib() { df -Pm -- "$1" 2>/dev/null | awk 'NR == 2 { print $4 }'; }

# Runs apt-get as root. Output goes to the log; sudo may ask for a password on the terminal.
run_apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 apt-get -q -y \
    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" </dev/null >>"$apt_log" 2>&1
}

# install_packages GROUP...: installs what is missing of these groups.
install_packages() {
  local packages missing list as_root=() apt_log
  mapfile -t packages < <(packages_of "$@")
  if ! command -v dpkg-query >/dev/null; then
    die "this command installs what it needs with apt-get, which only Debian and its relatives" \
      "have; elsewhere, install the counterparts of installer/packages.txt and build with the" \
      "CMake preset 'release'."
  fi
  mapfile -t missing < <(missing_of "${packages[@]}")
  if ((${#missing[@]} == 0)); then return 0; fi
  list=${missing[*]}

  if ! command -v apt-get >/dev/null; then
    die "these packages are missing and there is no apt-get to install them: $list."
  fi
  local id='' version=''
  if [[ -r /etc/os-release ]]; then
    id=$(. /etc/os-release && printf '%s' "${ID:-}")
    version=$(. /etc/os-release && printf '%s' "${VERSION_ID:-}")
  fi
  if [[ $id == debian && -n $version ]] && ((${version%%.*} < 12)); then
    die "Debian 12 or newer is needed, and this is Debian $version."
  fi
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      die "installing the missing packages needs root: run this command as root, or install sudo" \
        "(missing: $list)."
    fi
    as_root=(sudo)
    if ! sudo -n true 2>/dev/null; then
      if [[ ! -t 0 || ! -t 2 ]]; then
        die "sudo wants a password and there is no terminal to ask for it: run this command in a" \
          "terminal or as root (missing: $list)."
      fi
      sudo -v || die "installing the missing packages needs root, which sudo did not grant" \
        "(missing: $list)."
    fi
  fi

  apt_log=$(mktemp "${TMPDIR:-/tmp}/pillarbox-apt.XXXXXX") ||
    die "no temporary file could be made in ${TMPDIR:-/tmp}: is the disk full?"
  say "installing ${#missing[@]} Debian packages with what they need: $list"
  # A failed update of some unrelated source is no reason to stop: the lists at hand may do.
  run_apt update || true
  local needed
  needed=$(space_for "${missing[@]}")
  if [[ -n $needed && $(free_mib /usr) -lt $needed ]]; then
    rm -f -- "$apt_log"
    die "the packages need about $needed MB of disk space in /usr, and only $(free_mib /usr) MB" \
      "are free."
  fi
  if ! run_apt install --no-install-recommends "${missing[@]}"; then
    explain_apt_failure "$list"
  fi
  rm -f -- "$apt_log"
  mapfile -t missing < <(missing_of "${packages[@]}")
  if ((${#missing[@]} != 0)); then die "apt-get did not install: ${missing[*]}."; fi
}

# space_for PACKAGE...: MB that apt-get says the download and the installation of these take;
# nothing where it does not say.
space_for() {
  "${as_root[@]}" env LC_ALL=C apt-get --assume-no --no-install-recommends install "$@" \
    </dev/null 2>/dev/null |
    awk -v scale='kB 0.001 MB 1 GB 1000' '
      BEGIN { n = split(scale, s); for (i = 1; i < n; i += 2) unit[s[i]] = s[i + 1] }
      /^Need to get|^After this operation/ {
        for (i = 2; i <= NF; i++) if ($i in unit) {
          number = $(i - 1); gsub(/,/, "", number); sub(/.*\//, "", number); sum += number * unit[$i]
          if (/^After/) break
        }
      }
      END { if (sum) printf "%d", sum + 50 }' || true
}

explain_apt_failure() {
  local reason
  if grep -qE 'Temporary failure resolving|Could not connect|Connection (timed out|failed)|Cannot initiate|Network is unreachable' "$apt_log"; then
    reason="the Debian package servers could not be reached; check the network connection"
  elif grep -q 'Unable to locate package\|has no installation candidate' "$apt_log"; then
    reason="this system's package sources do not offer $(grep -oE "(Unable to locate package |Package ')[^' ]+" "$apt_log" | sed -E "s/.*[ ']//" | sort -u | paste -sd' '); Debian 12's main section must be enabled in /etc/apt"
  elif grep -q "Could not get lock" "$apt_log"; then
    reason="another program is using the package manager; try again when it has finished"
  elif grep -q "don't have enough free space\|No space left" "$apt_log"; then
    reason="the disk is full"
  else
    reason="apt-get failed: $(grep -E '^E: ' "$apt_log" | head -n 1 | sed 's/^E: //')"
  fi
  die "the packages $1 could not be installed: $reason (details: $apt_log)."
}

# Memory this process may still use, in MiB: the machine's or the container's, whichever is less.
memory_mib() {
  local mib limit used
  mib=$(awk '/^MemAvailable:|^SwapFree:/ { sum += $2 } END { printf "%d", sum / 1024 }' /proc/meminfo)
  if [[ -r /sys/fs/cgroup/memory.max ]]; then
    limit=$(</sys/fs/cgroup/memory.max)
    used=$(cat /sys/fs/cgroup/memory.current 2>/dev/null || echo 0)
    if [[ $limit =~ ^[0-9]+$ ]] && (((limit - used) / 1048576 < mib)); then
      mib=$(((limit - used) / 1048576))
    fi
  fi
  printf '%s' "$mib"
}

# Jobs that fit into memory as well as onto the cores: a file that includes LibTorch, Qt or
# generated Protocol Buffers takes up to 1.5 GB to compile.
job_count() {
  local cores memory
  cores=$(nproc)
  memory=$(($(memory_mib) / 1536))
  echo $((memory < 1 ? 1 : memory < cores ? memory : cores))
}

# Checks that do not concern packages.
check_machine() {
  local compiler=${CXX:-c++} major
  command -v "${compiler%% *}" >/dev/null || die "the C++ compiler $compiler does not exist."
  major=$($compiler -dumpversion 2>/dev/null | cut -d. -f1)
  if $compiler --version 2>/dev/null | grep -qi clang; then
    if [[ $major =~ ^[0-9]+$ ]] && ((major < 14)); then
      die "clang 14 or newer is needed, and $compiler is clang $major."
    fi
  elif [[ $major =~ ^[0-9]+$ ]] && ((major < 12)); then
    die "g++ 12 or newer is needed, and $compiler is g++ $major."
  fi
  if (($(memory_mib) < 1024)); then
    die "building needs about 1.5 GB of free memory, and $(memory_mib) MB are free."
  fi
}

# build PRESET [TARGET...]: configures where that has not been done, then builds. Two of these
# commands at once take turns.
build() {
  local preset=$1 jobs log lock
  shift
  mkdir -p "$root/build/$preset" 2>/dev/null && [[ -w $root/build/$preset ]] ||
    die "the build folder $root/build/$preset cannot be written by $(id -un): did another user" \
      "build here?"
  exec {lock}>"$root/build/.lock" || die "the file $root/build/.lock cannot be written."
  if ! flock -n "$lock"; then
    say "waiting for another build in this folder"
    flock "$lock"
  fi
  if [[ ! -e $root/build/$preset/build.ninja ]] && (($(free_mib "$root/build") < 1500)); then
    die "building needs about 1.5 GB of disk space in $root/build, and only" \
      "$(free_mib "$root/build") MB are free."
  fi
  jobs=$(job_count)
  log=$root/build/$preset/configure.log
  if ! cmake -S "$root" --preset "$preset" "${configure_options[@]}" >"$log" 2>&1; then
    cat -- "$log" >&2
    die "the build could not be configured (see the messages above, also in $log)."
  fi
  local quiet=()
  [[ -t 1 ]] || quiet=(--quiet)
  if ! ninja -C "$root/build/$preset" -n "$@" 2>/dev/null | grep -q 'no work to do'; then
    say "building ($preset, $jobs at a time; the first time takes several minutes)"
    if ! ninja -C "$root/build/$preset" "${quiet[@]}" -j "$jobs" "$@"; then
      die "the build failed; the compiler's messages are above."
    fi
  fi
  exec {lock}>&-
}
configure_options=()

# run_tests PRESET [CTEST-ARGUMENT...]: ends with CTest's summary; its exit status is ctest's.
run_tests() {
  local preset=$1
  shift
  (cd -- "$root" && ctest --preset "$preset" --no-tests=error -j "$(job_count)" "$@")
}
