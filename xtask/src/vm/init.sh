#!/bin/sh
# The first process of the machine: mounts what systemd would, as it would, and runs the tests as one of its services.
# What follows is for the tests to say, on the second serial line; how they ended goes to the third.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t securityfs securityfs /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /dev/pts /dev/shm /dev/mqueue /run/lock
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount --make-rshared /
hostname debian
ip link set lo up
modprobe -a virtio_net loop
# Without the interface that it brings of itself.
modprobe dummy numdummies=0
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
ulimit -n 65536

# One tree with all controllers, of which systemd hands down those that its own services use.
mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/init.scope /sys/fs/cgroup/system.slice/tests.service
echo $$ > /sys/fs/cgroup/init.scope/cgroup.procs
echo '+memory +pids' > /sys/fs/cgroup/cgroup.subtree_control
echo '+memory +pids' > /sys/fs/cgroup/system.slice/cgroup.subtree_control

stty -F /dev/ttyS1 raw
(
    sh -c 'echo $PPID' > /sys/fs/cgroup/system.slice/tests.service/cgroup.procs
    exec /load/xtask inside
) > /dev/ttyS1 2>&1 < /dev/null
echo $? > /dev/ttyS2
sync
sleep 0.2
echo b > /proc/sysrq-trigger
