#!/bin/busybox sh
# Process 1 of a guest of Xen's: says what it is; then a shell for who wants one, else the guest goes off.
/bin/busybox --install -s /bin
PATH=/bin HOME=/root TERM=linux
export PATH HOME TERM
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
what=$(cat /sys/hypervisor/type) how=$(cat /sys/hypervisor/guest_type)
echo "guest: $what $how, Linux $(uname -r), $(grep MemTotal /proc/meminfo | tr -s ' ')"
echo "guest: press Enter within 3 seconds for a shell"
read -r -t 3 || poweroff -f
setsid sh -c 'exec sh -l < /dev/console > /dev/console 2>&1'
poweroff -f
