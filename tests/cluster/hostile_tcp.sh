# The hostile programs over TCP: here a channel is a socket, and every frame can be forged.
# timeout: 170
HOSTILE_TRANSPORT=tcp
. "$TOP/tests/cluster/hostile.sh"
