# Seeded chaos: daemons are killed, stopped, cut off and started again while eight programs run that check what they do. chaos.py has the rules.
# Without LEGO_TEST_SECONDS a short round, of faults that no program may notice; LEGO_TEST_SECONDS=900 is the long run of all faults, LEGO_TEST_SEED=N one that is to be repeated, LEGO_TEST_FAULT=kill,stop,cut which faults.
# timeout: 7200
. "$TOP/tests/cluster/lib.sh"
command -v python3 >/dev/null || {
	echo "skipped: needs python3"
	exit 77
}
trap - EXIT
exec python3 "$TOP/tests/cluster/chaos.py"
