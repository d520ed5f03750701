#!/bin/sh
# The program that a delivery runs on an OpenBSD host, as root: `receiver.sh VERB ...`. It is kept on
# the host: `sh receiver.sh remove`, run by hand, removes everything of the mesh from it.
#
# The record of a delivery has a word and its value in each line. It is written before the first
# change, and removed last.
set -eu
PATH=$PATH:/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin
umask 022
etc=/etc/anycast-mesh
home=/var/lib/anycast-mesh
delivery=$home/state/delivery
record=$delivery/record
aside=$delivery/aside
undo_seconds=60

refuse() {
	echo "refused $*"
	exit 0
}

# Written beside, so that a power cut leaves the old record or the new one.
remember() { # word, value
	{
		grep -v "^$1 " "$record" 2>/dev/null || true
		echo "$1 $2"
	} >"$record.new"
	sync
	mv -f "$record.new" "$record"
}

recorded() { # word
	sed -n "s/^$1 //p" "$record" 2>/dev/null
}

# What a generation replaces, and what has to be as it was after a removal.
FILES='/etc/pf.conf /etc/bird/bird.conf /etc/hostname.lo1'

look() {
	[ ! -e "$etc/seed.json" ] || echo 'born yes'
	[ ! -e "$record" ] || cat "$record"
}

begin() { # node, operator, instance, digest
	if [ ! -e "$record" ]; then
		rm -rf "$aside"
		mkdir -p "$aside"
		for file in $FILES; do
			[ ! -f "$file" ] || cp -p "$file" "$aside/$(echo "$file" | tr / _)"
		done
		sysctl net.inet net.inet6 >"$aside/sysctl"
		rcctl ls on >"$aside/services"
		printf 'node %s\noperator %s\ninstance %s\n' "$1" "$2" "$3" >"$record.new"
		sync
		mv -f "$record.new" "$record"
	fi
	# The user data hold the join token.
	chmod 700 "$home/state"
	remember digest "$4"
	remember 'done' no
	mkdir -p "$etc"
	recorded instance >"$etc/instance-id.mesh-new"
	mv -f "$etc/instance-id.mesh-new" "$etc/instance-id"
	echo "instance $(recorded instance)"
}

# The user data without their signature: they have come from the operator himself.
user_data() { # what they shall do
	sed 1,2d "$delivery/user-data" >"$delivery/run"
	sh "$delivery/run" "$@"
}

keys() { # user
	list=$(getent passwd "$1" | cut -d: -f6)/.ssh/authorized_keys
	cp "$list" "$delivery/keys.before" 2>/dev/null || : >"$delivery/keys.before"
	user_data keys "$1"
	grep -vxF -f "$delivery/keys.before" "$list" >>"$delivery/keys.added" || true
	remember keys "$list"
}

close() {
	said=$(pfctl -n -f /etc/pf.conf 2>&1) || refuse "/etc/pf.conf: $(echo "$said" | tr '\n' ' ')"
	rm -f "$delivery/settled"
	# Nobody can undo a ruleset that lets nobody in. ksh(1) would keep the connection's descriptors
	# open in a subshell whose own are redirected from outside.
	(
		exec </dev/null >/dev/null 2>&1
		trap '' HUP
		sleep "$undo_seconds"
		[ -e "$delivery/settled" ] || pfctl -f "$aside/_etc_pf.conf"
	) &
	pfctl -f /etc/pf.conf
	echo "seconds $undo_seconds"
}

settle() {
	[ -e "$record" ] || refuse 'there is no delivery on this host to continue'
	: >"$delivery/settled"
	pfctl -f /etc/pf.conf
}

start() {
	rcctl enable anycast_mesh_bootstrap
	sync
	rcctl check anycast_mesh_bootstrap >/dev/null || rcctl start anycast_mesh_bootstrap
	remember 'done' yes
	rm -f "$delivery/user-data" "$delivery/run"
}

end_services() {
	# The agent first: it would start the others again. Its end starts the time until a withdrawal.
	end_service agent
	[ ! -s /var/run/anycast-mesh/withdrawal.pid ] ||
		kill "$(cat /var/run/anycast-mesh/withdrawal.pid)" 2>/dev/null || true
	for name in bootstrap whoami bird; do
		end_service "$name"
	done
}

end_service() { # name
	[ -x "/etc/rc.d/anycast_mesh_$1" ] || return 0
	rcctl stop "anycast_mesh_$1" || true
	rcctl disable "anycast_mesh_$1" || true
}

# Tunnels of ours are those whose file names our key.
end_tunnels() {
	for file in /etc/hostname.wg*; do
		grep -q "$home/keys/wireguard.key" "$file" 2>/dev/null || continue
		ifconfig "${file#/etc/hostname.}" destroy || true
		rm -f "$file"
	done
}

put_back() {
	for file in $FILES; do
		saved=$aside/$(echo "$file" | tr / _)
		if [ -f "$saved" ]; then
			cp -p "$saved" "$file"
		else
			rm -f "$file"
		fi
	done
	[ -e /etc/hostname.lo1 ] || ! ifconfig lo1 >/dev/null 2>&1 || ifconfig lo1 destroy || true
	[ ! -s "$etc/sysctl.conf" ] || sed -n 's/^\([a-z0-9.]*\)=.*/\1/p' "$etc/sysctl.conf" |
		while read -r name; do
			was=$(sed -n "s/^$name=//p" "$aside/sysctl")
			[ -z "$was" ] || sysctl "$name=$was" >/dev/null || true
		done
	pfctl -f /etc/pf.conf || true
	# A table that persists outlives its rules.
	pfctl -s Tables 2>/dev/null | sed -n 's/^\(mesh_[a-z0-9_]*\).*/\1/p' |
		while read -r table; do
			pfctl -q -t "$table" -T kill || true
		done
	! grep -qx bird "$aside/services" || rcctl enable bird || true
}

take_keys() {
	list=$(recorded keys)
	[ -n "$list" ] && [ -s "$delivery/keys.added" ] && [ -f "$list" ] || return 0
	grep -vxF -f "$delivery/keys.added" "$list" >"$delivery/keys.left" || true
	# Into the file that is there: owner and mode stay.
	cat "$delivery/keys.left" >"$list"
}

remove() {
	if [ ! -e "$record" ]; then
		[ ! -e "$etc/seed.json" ] || refuse 'no record tells what was here before the mesh'
		return 0
	fi
	end_services
	end_tunnels
	put_back
	take_keys
	rm -rf /etc/rc.d/anycast_mesh_* /etc/login.conf.d/anycast_mesh_* /etc/bird/mesh \
		/usr/local/libexec/anycast-mesh /var/run/anycast-mesh "$etc"
	rmdir /etc/bird 2>/dev/null || true
	# The record last, so that an interrupted removal can continue.
	for one in "$home"/* "$home"/state/*; do
		[ "$one" = "$home/state" ] || [ "$one" = "$delivery" ] || rm -rf "$one"
	done
	sync
	rm -f "$record"
	rm -rf "$home"
}

case ${1-} in
look | begin | keys | close | settle | start | remove | user_data)
	verb=$1
	shift
	"$verb" "$@"
	echo 'ok'
	;;
*)
	echo 'usage: receiver.sh remove' >&2
	exit 64
	;;
esac
