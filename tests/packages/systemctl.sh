#!/bin/sh
# Stands in the place of systemctl on a test's machine, which has no systemd running: starts, stops and enables units as far
# as packages and administrators ask for it. It heeds conditions, users and state directories, and confines nothing.

units=/usr/lib/systemd/system
state=/run/units
mkdir -p "$state"

fact() { sed -n "s/^$2=//p" "$units/$1"; }

# A zombie has no program any more.
alive() { [ -s "$state/$1.pid" ] && readlink "/proc/$(cat "$state/$1.pid")/exe" >/dev/null; }

start() {
  alive "$1" && return 0
  [ -e "$units/$1" ] || { echo "Unit $1 not found." >&2; return 5; }
  condition=$(fact "$1" ConditionPathExists)
  [ -z "$condition" ] || [ -e "$condition" ] || return 0
  user=$(fact "$1" User)
  for directory in $(fact "$1" StateDirectory); do
    install -d -o "$user" -g "$user" -m 0700 "/var/lib/$directory"
  done
  command=$(fact "$1" ExecStart)
  # shellcheck disable=SC2086
  HOME=$(getent passwd "$user" | cut -d: -f6) setsid setpriv --reuid "$user" --regid "$user" --init-groups --no-new-privs $command >>"/var/log/$1.log" 2>&1 </dev/null &
  echo $! >"$state/$1.pid"
}

stop() {
  alive "$1" || return 0
  kill -TERM "$(cat "$state/$1.pid")"
  while alive "$1"; do sleep 0.05; done
  rm "$state/$1.pid"
}

verb=
now=
named=
for word in "$@"; do
  case $word in
    --now) now=yes ;;
    -*) ;;
    *) if [ -z "$verb" ]; then verb=$word; else
      case $word in *.service) named="$named $word" ;; *) named="$named $word.service" ;; esac
    fi ;;
  esac
done

enabled=/etc/systemd/system/multi-user.target.wants
for unit in $named; do
  case $verb in
    start) start "$unit" || exit ;;
    stop) stop "$unit" ;;
    restart) stop "$unit" && start "$unit" || exit ;;
    reload) kill -HUP "$(cat "$state/$unit.pid")" ;;
    enable)
      mkdir -p "$enabled"
      ln -sf "$units/$unit" "$enabled/$unit"
      [ -z "$now" ] || start "$unit" || exit
      ;;
    is-active) alive "$unit" || { echo inactive; exit 3; }; echo active ;;
    is-enabled) [ -e "$enabled/$unit" ] || { echo disabled; exit 1; }; echo enabled ;;
    show) echo "Id=$unit" ;;
    *) echo "this systemctl does not know $verb" >&2; exit 1 ;;
  esac
done
case $verb in
  daemon-reload | start | stop | restart | reload | enable | is-active | is-enabled | show) ;;
  *) echo "this systemctl does not know $verb" >&2; exit 1 ;;
esac
