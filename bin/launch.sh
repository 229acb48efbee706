#!/bin/sh
# Usage: sh bin/launch.sh PROGRAM [ARG…]
#
# Becomes Node 24 running PROGRAM: a path below the package's root, without extension for one of our own
# programs (PROGRAM.ts in a checkout, dist/PROGRAM.js in an installed package), with extension for a tool.
# In a checkout it first installs what is missing, and before a relay or the tests start it builds the dashboard's
# pages where they are missing or old. It ends in `exec`, so signals and the exit code are the
# program's own.
#
# SALLYPORT_NODE   the Node to use, instead of the package's, the pinned one or the one on PATH; 24 or newer.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
program=$1
shift

fail() {
  printf 'sallyport: %s\n' "$1" >&2
  exit 1
}

# `node --version` says v24.21.0; a program that says anything else is not a Node.
is_new_enough() {
  major=$("$1" --version 2>/dev/null) || return 1
  major=${major#v}
  major=${major%%.*}
  [ "$major" -ge 24 ] 2>/dev/null
}

# True where a source of the dashboard's pages is newer than what was built of them.
pages_are_old() {
  pages=$root/relay-client/dashboard/built/pages.json
  [ -f "$pages" ] || return 0
  [ -n "$(find "$root/relay-client/dashboard" "$root/bin/dashboard.ts" "$root/package-lock.json" \
    -path '*/dashboard/built' -prune -o -newer "$pages" -print)" ]
}

if [ -f "$root/package-lock.json" ]; then
  setup=
  # The same comparison as in setup.mjs, without the cost of starting Node.
  cat "$root/package-lock.json" "$root/.taprc" 2>/dev/null | cmp -s - "$root/node_modules/.sallyport-setup" ||
    setup=needed
  case $program in
    relay-client/main | tests/run | bin/check)
      if [ -f "$root/bin/dashboard.ts" ] && pages_are_old; then setup=with-pages; fi
      ;;
  esac
  if [ -n "$setup" ]; then
    setup_node=${SALLYPORT_NODE:-node}
    command -v "$setup_node" >/dev/null ||
      fail "$setup_node was not found; install Node.js 20 or newer with npm (on Linux; elsewhere 24 or newer)"
    "$setup_node" "$root/bin/setup.mjs" "$setup" || exit 1
  fi
  # Halves the start: Node keeps what it compiled and stripped, by content. Not in an installed package, which
  # writes nothing but what its configuration names.
  if [ -z "$NODE_COMPILE_CACHE" ] && [ -w "$root/node_modules" ]; then
    export NODE_COMPILE_CACHE="$root/node_modules/.cache/node"
  fi
fi

if [ -n "$SALLYPORT_NODE" ]; then
  is_new_enough "$SALLYPORT_NODE" ||
    fail "SALLYPORT_NODE=$SALLYPORT_NODE is not Node.js 24 or newer; point it at one, or unset it"
  node=$SALLYPORT_NODE
elif [ -x "$root/node" ]; then
  # A Debian package brings its own.
  node=$root/node
elif [ -f "$root/package-lock.json" ] && [ -x "$root/node_modules/.bin/node" ]; then
  node=$root/node_modules/.bin/node
elif is_new_enough node; then
  node=node
else
  found=$(node --version 2>/dev/null) || found='no node on PATH'
  fail "Node.js 24 or newer is needed, found $found; install one, or name it in SALLYPORT_NODE"
fi

if [ -f "$root/$program.ts" ]; then
  entry=$root/$program.ts
elif [ -f "$root/dist/$program.js" ]; then
  entry=$root/dist/$program.js
elif [ -f "$root/$program" ]; then
  entry=$root/$program
else
  fail "nothing to start: neither $program.ts nor dist/$program.js nor $program is in $root"
fi

# node:sqlite is marked experimental in Node 24 and would warn at every start.
set -- "$entry" "$@"
case $program in
  proxy/main | relay-client/main)
    # Memory holds passwords and keys. It is dumped nowhere when the program crashes, and what is dumped all the same, by
    # a handler of the system's own or a debugger's `gcore`, is without its contents.
    ulimit -c 0
    [ -w /proc/self/coredump_filter ] && echo 0 >/proc/self/coredump_filter
    # A small young generation: what bulk leaves behind is freed while it is still in the processor's cache, where the
    # default waits until only full collections help. One thread does it: there is too little of it to share, and all work
    # would wait for helpers that wait for a processor themselves.
    set -- --max-semi-space-size=2 --no-parallel-scavenge --disable-sigusr1 "$@"
    ;;
esac
if [ "$program" = proxy/main ]; then
  # Large blocks in pages of 2 MB, where glibc and the kernel have such: a poll looks at three places of a large table, and
  # small pages have to be found before it can.
  export GLIBC_TUNABLES="${GLIBC_TUNABLES:+$GLIBC_TUNABLES:}glibc.malloc.hugetlb=1"
fi
exec "$node" --disable-warning=ExperimentalWarning "$@"
