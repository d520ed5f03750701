# Stands in for rc.subr(8), for mksh: the same words, codes and order as OpenBSD's.
_actions="start stop restart reload check configtest"
_say() { print -u2 -r -- "$1"; exit "${2:-1}"; }
_quiet() { if [ -n "$_RC_DEBUG" ]; then print "doing $*"; "$@"; else "$@" >/dev/null 2>&1; fi; }
_end() { print -r -- "${INRC:+ }${_name}($1)"; [ "$1" = ok ] && exit 0; exit 1; }
_conf() { # Sets what rc.conf.local(8) says of this service.
	typeset line key value
	[ -f "$RC_CONF_LOCAL" ] || return 0
	while read -r line; do
		case $line in "#"*|=*|"") continue ;; *=*) ;; *) continue ;; esac
		key=${line%%=*} value=${line#*=}
		case $value in \"*\"|\'*\') value=${value#?} value=${value%?} ;; esac
		case $key in "${_name}_"@(flags|user|class|rtable|timeout|logger|execdir))
			eval "_set_${key#"${_name}"_}=\$value" ;;
		esac
	done <"$RC_CONF_LOCAL"
}
rc_exec() {
	typeset run="$*"
	[ -z "$daemon_execdir" ] || run="cd $daemon_execdir && $run"
	[ -z "$daemon_logger" ] || run="{ $run; } 2>&1 | logger -isp $daemon_logger -t $_name"
	[ "$daemon_rtable" = 0 ] || { route -T "$daemon_rtable" exec su -fl -c "$daemon_class" -s /bin/sh "$daemon_user" -c "$run"; return; }
	su -fl -c "$daemon_class" -s /bin/sh "$daemon_user" -c "$run"
}
rc_start() { rc_exec "$daemon $daemon_flags"; }
rc_check() { pgrep -T "$daemon_rtable" -q -xf "$pexp"; }
rc_reload() { pkill -HUP -T "$daemon_rtable" -xf "$pexp"; }
rc_stop() { pkill -T "$daemon_rtable" -xf "$pexp"; }
_until() { # until rc_check is as asked, within the daemon's time
	typeset -i left=$((daemon_timeout * 20))
	while [ $left -gt 0 ]; do
		if _quiet rc_check; then [ "$1" = up ] && return 0; else [ "$1" = down ] && return 0; fi
		sleep 0.05; left=$((left - 1))
	done
	return 1
}
_has() { type "$1" >/dev/null 2>&1; }
_start() {
	[ "$daemon_flags" != NO ] || _say "$0: need -f to force start since ${_name}_flags=NO"
	[ -n "$INRC" ] || ! _quiet rc_check || exit 0
	if { ! _has rc_configtest || _quiet rc_configtest; } && { ! _has rc_pre || _quiet rc_pre; }; then
		if [ "$rc_bg" = YES ]; then
			# Its own session, as su(1) -l leaves it when the script has ended.
			( exec </dev/null >/dev/null 2>&1; _quiet rc_start ) &
			_until up && _end ok
		else
			_quiet rc_start && _end ok
		fi
	fi
	! _has rc_post || _quiet rc_post
	_end failed
}
rc_cmd() {
	case " $_actions " in *" ${1:-none} "*) ;; *) _say "usage: $0 [-df] check|reload|restart|start|stop" ;; esac
	typeset refused
	eval "refused=\$rc_$1"
	[ "$refused" != NO ] || _say "$0: $1 is not supported"
	case $1 in
	check) _quiet rc_check && _end ok; _end failed ;;
	configtest) _has rc_configtest || _say "$0: configtest is not supported"
		_quiet rc_configtest && _end ok; _end failed ;;
	start) _start ;;
	stop)
		_quiet rc_check || exit 0
		_quiet rc_stop && _until down || _end failed
		! _has rc_post || _quiet rc_post || _end failed
		_end ok ;;
	reload)
		_quiet rc_check || _end failed
		! _has rc_configtest || _quiet rc_configtest || _end failed
		_quiet rc_reload && _quiet rc_check && _end ok
		_end failed ;;
	restart)
		! _has rc_configtest || _quiet rc_configtest || _end failed
		$KSH "$0" $_RC_DEBUG $_RC_FORCE stop && $KSH "$0" $_RC_DEBUG $_RC_FORCE start ;;
	esac
}
_name=${0##*/}
[ -n "$daemon" ] || _say "$0: daemon is not set"
unset _RC_DEBUG _RC_FORCE
while getopts df _c; do
	case $_c in d) _RC_DEBUG=-d ;; f) _RC_FORCE=-f ;; *) _say "usage: $0 [-df] action" ;; esac
done
shift $((OPTIND - 1))
_conf
if [ "$_set_flags" = NO ]; then [ -z "$_RC_FORCE" ] && [ "$1" = start ] || unset _set_flags; fi
[ -z "$_set_flags" ] || daemon_flags=$_set_flags
daemon_class=${_set_class:-daemon} daemon_rtable=${_set_rtable:-${daemon_rtable:-0}}
daemon_user=${_set_user:-${daemon_user:-root}} daemon_timeout=${_set_timeout:-${daemon_timeout:-30}}
daemon_logger=${_set_logger:-$daemon_logger} daemon_execdir=${_set_execdir:-$daemon_execdir}
pexp=${pexp:-$daemon${daemon_flags:+ $daemon_flags}}
