# shellcheck shell=bash
# What the scripts share; sourced from the repository's root.

ROOT=$PWD
LAB=$ROOT/.lab                                              # all that scripts and labs make lies here
COLLECTION=$LAB/collections/ansible_collections/waba/onprem # the checkout, under the name that Ansible wants
export LAB COLLECTION

# fail TEXT: say what is wrong and how to mend it, and stop.
fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

# step NAME COMMAND...: run a command quietly; print one line with the time it took. A failure shows its log's end.
step() {
    local name=$1 log=$LAB/log/$1.log start=$EPOCHREALTIME status=0
    shift
    mkdir -p "$LAB/log"
    printf '%-28s ' "$name"
    "$@" >"$log" 2>&1 </dev/null || status=$?
    local took
    took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f s", b - a }')
    if [ "$status" -eq 0 ]; then
        printf 'ok      %8s  %s\n' "$took" "$(grep -aE '^[0-9]+ passed' "$log" | tail -n 1)"
    else
        printf 'FAILED  %8s  whole log: %s\n' "$took" "${log#"$ROOT"/}"
        tail -n 60 "$log" >&2
    fi
    return "$status"
}

# use_venv: find the tools of .venv first, and the checkout as a collection.
use_venv() {
    export PATH=$ROOT/.venv/bin:$PATH VIRTUAL_ENV=$ROOT/.venv
    export ANSIBLE_COLLECTIONS_PATH=$LAB/collections
    export ANSIBLE_PIPELINING=true # as the playbooks have it; the tasks of tests take a third of the time
    unset PYTHONDONTWRITEBYTECODE # else each of thousands of short programs compiles Ansible anew
}

# copy_tree FOLDER: the checkout without what git ignores, as FOLDER/ansible_collections/waba/onprem; prints that path.
# Tools that want real folders of these names, or write beside what they read, work there.
copy_tree() {
    local tree=$1/ansible_collections/waba/onprem
    rm -rf "$1/ansible_collections"
    mkdir -p "$tree"
    git ls-files -co --exclude-standard -z | while IFS= read -r -d '' file; do
        if [ -e "$file" ]; then printf '%s\0' "$file"; fi
    done | tar cf - --null -T - | tar xf - -C "$tree"
    printf '%s\n' "$tree"
}

# npm_install FOLDER NAME@VERSION...: npm packages as FOLDER/node_modules, once; no package runs a script of its own.
npm_install() {
    local folder=$1 log=$LAB/log/npm.log
    shift
    mkdir -p "$folder" "$LAB/log"
    [ "$(cat "$folder/.installed" 2>/dev/null)" != "$*" ] || return 0
    npm install --prefix "$folder" --no-save --ignore-scripts --no-audit --no-fund "$@" >"$log" 2>&1 ||
        fail "npm could not install $*: is an npm registry reachable from here? $(tail -n 3 "$log")"
    printf '%s\n' "$*" >"$folder/.installed"
}

# unpack FOLDER PACKAGE...: Debian packages as FOLDER/PACKAGE, once. They are not installed, since some would start as services.
unpack() {
    local folder=$1 log=$LAB/log/unpack.log package
    local root=()
    [ "$(id -u)" = 0 ] || root=(sudo -n)
    shift
    mkdir -p "$folder" "$LAB/log"
    for package in "$@"; do
        [ ! -e "$folder/$package" ] || continue
        (cd "$folder" && rm -f "$package"_*.deb && apt-get download -q "$package") >"$log" 2>&1 ||
            ("${root[@]}" apt-get update -q && cd "$folder" && apt-get download -q "$package") >>"$log" 2>&1 ||
            fail "apt-get could not download $package: $(tail -n 3 "$log")"
        dpkg-deb -x "$folder/$package"_*.deb "$folder/$package.new"
        mv "$folder/$package.new" "$folder/$package"
    done
}
