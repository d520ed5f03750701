#!/bin/sh
# What a node with `os: openbsd` relies on, asked on a real OpenBSD machine (docs/openbsd.md).
#
#     doas sh openbsd-proof.sh
#
# Prints a line for each claim: `holds`, `FAILS` with what was said instead, or `skipped` with what
# is missing for it. It changes nothing that lasts: interfaces, tables, routes and a service of its
# own go again, and neither pf's rules nor any file of the machine's are touched. Takes two minutes.
set -u
PATH=$PATH:/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin
export PATH

[ "$(uname -s)" = OpenBSD ] || { echo 'this is for OpenBSD' >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo 'run it as root: doas sh openbsd-proof.sh' >&2; exit 2; }

folder=$(mktemp -d /tmp/mesh-proof.XXXXXXXX) || exit 2
service=/etc/rc.d/mesh_proof
first=wg4001 second=wg4002 loopback=lo4001 table=91
failed=0

cleared() {
	rcctl stop mesh_proof >/dev/null 2>&1
	rm -f "$service"
	for one in $first $second $loopback; do
		ifconfig "$one" destroy 2>/dev/null
	done
	route -qn -T "$table" flush 2>/dev/null
	pfctl -q -t mesh_proof -T kill 2>/dev/null
	cd / && rm -rf "$folder"
}
trap cleared EXIT
trap 'exit 130' INT TERM
cd "$folder" || exit 2

title() {
	printf '\n%s\n' "$*"
}

holds() { # claim, command...
	claim=$1
	shift
	if said=$("$@" 2>&1); then
		echo "holds    $claim"
	else
		failed=$((failed + 1))
		echo "FAILS    $claim: $(echo "$said" | tail -n 1)"
	fi
}

skipped() { # claim, reason
	echo "skipped  $1: $2"
}

# --- the machine -------------------------------------------------------------------------------------

echo "system   $(sysctl -n kern.version | sed 1q)"
echo "machine  $(uname -m), $(df -Pk /var | awk 'END {print int($4 / 1024)}') MiB free in /var"
echo "mirror   $(sed -n '/^[a-z]*:/{p;q;}' /etc/installurl)"
for name in python3 py3-cryptography py3-pydantic wireguard-tools bird; do
	echo "package  $name: here $(pkg_info | sed -n "s/^\($name-[0-9][^ ]*\).*/\1/p" | tr '\n' ' '); the mirror has" \
		"$(pkg_info -Q "$name" | sed -n "s/^\($name-[0-9][^ ]*\).*/\1/p" | tr '\n' ' ')"
done

# --- first boot --------------------------------------------------------------------------------------

title 'First boot'

vectors() {
	cat >operator.pub <<'END'
untrusted comment: Anycast Mesh operator's public key
RWRWR1qnVGNHTAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4
END
	cat >signed <<'END'
untrusted comment: verify with operator.pub
RWRWR1qnVGNHTHBw+Gnr2Oy0ulU/kP6oRlfPrBNoklD43I8XSmuyxWsKqE2dkAVUMIdUMGb4jHchGRIjwUHmC8v0jcZjoWt2tA4=
#!/bin/sh
echo 'it holds'
END
}

a_script_is_given_out() {
	rm -f out
	signify -V -q -e -p operator.pub -x signed -m out && [ "$(sh out)" = 'it holds' ]
}

a_changed_script_is_not() {
	sed 's/it holds/it does not/' signed >changed
	rm -f out
	! signify -V -q -e -p operator.pub -x changed -m out && [ ! -e out ]
}

ftp_knows() {
	said=$(ftp -V -M -w 5 -S dont -o /dev/null https://127.0.0.1:1/ 2>&1)
	! echo "$said" | grep -qi -e usage -e 'unknown option' -e 'illegal option' || { echo "$said"; false; }
}

json() {
	[ "$(printf '%s' '{"user-data": "a\nb"}' |
		perl -MJSON::PP -0777 -ne 'print JSON::PP->new->utf8->decode($_)->{"user-data"}' | wc -l)" -eq 1 ]
}

limited() {
	! (ulimit -f 2 && dd if=/dev/zero of=big bs=1024 count=64) 2>/dev/null
}

metadata() {
	ftp -V -M -w 5 -o id http://169.254.169.254/v1/instance-v2-id && [ -s id ]
}

user_data() {
	ftp -V -M -w 5 -o data http://169.254.169.254/latest/user-data && [ -s data ]
}

vectors
holds 'signify(1) gives out a script below a signature that is framed here' a_script_is_given_out
holds 'and nothing of a changed one' a_changed_script_is_not
holds 'ftp(1) has -V, -M, -w, -o, and -S dont' ftp_knows
holds 'timeout(1) is in the base system' timeout 5 true
holds "the base system's Perl reads JSON" json
holds 'ulimit -f bounds what a download may write' limited
holds 'getent(1) tells a home' sh -c 'getent passwd root | cut -d: -f6 | grep -qx /root'
holds 'pkg_info -Q prints names with versions' sh -c 'pkg_info -Q bird | grep -q "^bird-[0-9]"'
holds 'pkg_info -q -e tells what is not installed' sh -c '! pkg_info -q -e "mesh-proof-*"'
if ftp -V -M -w 3 -o /dev/null http://169.254.169.254/v1/ >/dev/null 2>&1; then
	holds 'the metadata service tells the id of the instance' metadata
	holds 'and gives the user data as text' user_data
else
	skipped 'user data and instance id from the metadata service' 'there is none: this is no instance of Vultr'
fi

# --- services ----------------------------------------------------------------------------------------

title 'rc.d and the shell'

service_runs() {
	printf '#!/bin/sh\ntrap "exit 0" TERM\nwhile :; do sleep 1 & wait $!; done\n' >"$folder/loop"
	chmod 755 "$folder" "$folder/loop"
	cat >"$service" <<END
#!/bin/ksh
daemon="$folder/loop"
daemon_logger="daemon.info"
. /etc/rc.d/rc.subr
pexp="/bin/sh \${daemon}"
rc_bg=YES
rc_reload=NO
rc_cmd \$1
END
	chmod 555 "$service"
	rcctl -f start mesh_proof && rcctl check mesh_proof && rcctl stop mesh_proof &&
		! rcctl check mesh_proof
}

ended_child_is_gone() {
	# shellcheck disable=SC2016 # for the inner shell
	sh -c 'true & child=$!; sleep 1 & wait $!; ! kill -0 $child 2>/dev/null'
}

trap_ends_wait() {
	# shellcheck disable=SC2016 # for the inner shell
	[ "$(timeout 10 sh -c 'trap "echo trapped; exit 0" TERM
		(sleep 1; kill -TERM $$) & sleep 60 & wait $!')" = trapped ]
}

detached() {
	began=$(date +%s)
	# shellcheck disable=SC2016 # for the inner shell
	said=$(sh -c '(exec </dev/null >/dev/null 2>&1; sleep 8) & echo ended')
	[ "$said" = ended ] && [ $(($(date +%s) - began)) -lt 5 ]
}

holds 'a script runs as a service in the background, is found, and ends' service_runs
holds 'a child that has ended is no process any more' ended_child_is_gone
holds 'a trapped signal ends wait' trap_ends_wait
holds 'a subshell that redirects itself holds up nobody' detached
holds 'pf is a service for rcctl(8)' sh -c 'rcctl get pf status; [ $? -le 1 ]'
holds '/var/run is a folder' test -d /var/run

# --- network -----------------------------------------------------------------------------------------

title 'Interfaces and routes'

tunnels() {
	ifconfig $first create && ifconfig $second create &&
		ifconfig $first inet 169.254.64.201/32 && ifconfig $second inet 169.254.64.202/32 &&
		ifconfig $first inet6 fe80::1/64 && ifconfig $first mtu 1420 &&
		ifconfig $first description lax-vultr-1 && ifconfig $first up &&
		ifconfig $first | grep -q 'groups:.* wg' && ifconfig wg | grep -q "^$second:"
}

keys() {
	(umask 077 && wg genkey >key) && wg set $first private-key "$folder/key" listen-port 51999 &&
		wg show all dump | grep -q "^$first"
}

loopback() {
	ifconfig $loopback create && ifconfig $loopback inet 192.0.2.1/32 alias &&
		ifconfig $loopback inet 192.0.2.2/32 alias &&
		ifconfig $loopback inet6 alias 2001:db8::1 prefixlen 128 pltime 0 && sleep 2 &&
		ifconfig $loopback | grep -q '2001:db8::1 .*deprecated'
}

through_interface() {
	route -qn add -inet -host 198.51.100.99 -link -iface $first 2>/dev/null ||
		route -qn add -inet -host 198.51.100.99 169.254.64.201 || return
	route -n get 198.51.100.99 | grep -q "interface: $first"
	code=$?
	route -qn delete 198.51.100.99
	return $code
}

second_table() {
	route -qn -T "$table" add -inet -reject default 127.0.0.1 &&
		route -qn -T "$table" add -inet -priority 60 -host 192.0.2.77 127.0.0.1 &&
		route -qn -T "$table" add -inet6 -priority 60 -host 2001:db8::77 ::1 &&
		route -n -T "$table" show -inet | grep -q '^192.0.2.77 .* 60 '
}

holds 'two wg(4) with addresses, a description, and the group wg' tunnels
if command -v wg >/dev/null; then
	holds 'wg(8) sets a key from its file, and shows the interface' keys
else
	skipped 'wg(8) sets a key from its file' 'pkg_add wireguard-tools'
fi
holds 'lo(4) with several addresses, a deprecated one among them' loopback
holds 'a route leads through a tunnel without a next hop behind it' through_interface
holds "a second routing table of the same domain is made by its first route" second_table
holds 'the forwarding settings have these names' sysctl net.inet.ip.forwarding net.inet6.ip6.forwarding

# --- pf ----------------------------------------------------------------------------------------------

title 'pf'

rules() {
	cat >pf.conf <<'END'
set ruleset-optimization none
set block-policy drop
set skip on lo
table <mesh_discard4> persist
table <mesh_served> persist
table <mesh_aggregates> const { 192.0.2.0/24 }
table <mesh_peers> const { 169.254.64.0/18, !169.254.64.201 }
block drop all
block drop in quick inet from any to <mesh_discard4> label "discard4"
block drop in quick on ! wg from { <mesh_aggregates>, <mesh_peers> } to any
match in from any to <mesh_aggregates> rtable 1 tag mesh_elsewhere
match in from any to (self) tagged mesh_elsewhere tag mesh_here
match in from any to <mesh_served> rtable 0 tag mesh_here
pass in quick tagged mesh_elsewhere no state
pass in quick inet proto icmp from any to any icmp-type echoreq max-pkt-rate 400/2 no state tagged mesh_here
pass in quick on ! wg inet6 proto icmp6 from any to any icmp6-type { neighbrsol, neighbradv, routeradv } no state
pass in quick inet proto tcp from 203.0.113.0/24 to any port 22
pass in quick on ! wg proto udp from { 203.0.113.1, 2001:db8::1 } to any port 51820:51823 no state label "wireguard"
pass out quick on wg from any to <mesh_aggregates> no state received-on any
block return-rst out quick inet proto tcp from any to 169.254.169.254 port 80 user != 0
pass out quick inet from <mesh_aggregates> to any no state scrub (max-mss 1380)
pass out quick all
END
	sed "s/rtable 1/rtable $table/" pf.conf >pf.here
	pfctl -n -f pf.here
}

refused() {
	echo 'pass in quick nonsense' >pf.bad
	! pfctl -n -f pf.bad
}

pf_table() {
	pfctl -q -t mesh_proof -T add 192.0.2.9 && pfctl -t mesh_proof -T show | grep -q 192.0.2.9 &&
		pfctl -q -t mesh_proof -T replace 192.0.2.10 &&
		[ "$(pfctl -t mesh_proof -T show | tr -d ' ')" = 192.0.2.10 ]
}

holds 'pfctl(8) reads every form of rule that is written' rules
holds 'it fails on a form that it does not know' refused
holds 'tables are added to, shown and replaced' pf_table
holds 'pfctl -s info tells whether pf is enabled' sh -c 'pfctl -s info | grep -q "^Status: [ED]"'

# --- packages ----------------------------------------------------------------------------------------

title 'BIRD and Python'

bird_reads() {
	cat >bird.conf <<'END'
router id 192.0.2.1;
define OWN = [ 192.0.2.0/24+ ];
ipv4 table services4;
protocol device { scan time 5; }
protocol bfd { interface "wg*" { interval 150 ms; multiplier 3; }; }
protocol direct { ipv4; interface "lo1"; }
protocol kernel kernel4 {
	scan time 5;
	ipv4 {
		import none;
		export filter {
			if source = RTS_BGP && net ~ OWN && ifname ~ "wg*" then {
				ifname = ifname;
				accept;
			}
			reject;
		};
	};
}
protocol kernel kernel_services4 {
	kernel table 1;
	ipv4 { table services4; import none; export all; };
}
protocol bgp peer {
	local 192.0.2.1 as 64500;
	neighbor 192.0.2.2 as 64501;
	multihop 2;
	password "secret";
	ipv4 { import none; export none; };
}
END
	bird -p -c bird.conf
}

modules() {
	/usr/local/bin/python3 -c 'import sys, cryptography, pydantic
assert sys.version_info >= (3, 11), sys.version
assert pydantic.VERSION.startswith("2."), pydantic.VERSION'
}

if command -v bird >/dev/null; then
	echo "         $(bird --version 2>&1)"
	holds 'BIRD reads what is particular to OpenBSD nodes' bird_reads
else
	skipped 'BIRD reads what is particular to OpenBSD nodes' 'pkg_add bird'
fi
if [ -x /usr/local/bin/python3 ]; then
	holds 'Python is 3.11 or later, with cryptography and pydantic 2' modules
else
	skipped 'Python with cryptography and pydantic' 'pkg_add python3 py3-cryptography py3-pydantic'
fi

title "$([ "$failed" = 0 ] && echo 'Nothing fails.' || echo "$failed claims fail.")"
[ "$failed" = 0 ]
