#!/bin/busybox sh
# Process 1 of Xen's dom0: what xl needs, then a shell or the command of `run --exec`.
/bin/busybox --install -s /bin
PATH=$(echo /usr/lib/xen-*/bin):/bin HOME=/root TERM=linux
export PATH HOME TERM
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /run/xen /run/xenstored /var/lock /var/log/xen /var/lib/xen /var/lib/xenstored
ln -s /run /var/run
mount -t devpts devpts /dev/pts

end() {
    echo "ireko: $1"
    poweroff -f
}

while read -r module; do
    insmod "/lib/modules/$module.ko" || end "the module $module cannot be loaded"
done < /lib/modules/order
mount -t xenfs xenfs /proc/xen
grep -q control_d /proc/xen/capabilities || end "this is no dom0: start it as Xen's first module"

# xl talks to guests by xenstored, and `xl console` by xenconsoled.
xenstored --pid-file /run/xenstored.pid
tries=0
until [ -S /run/xenstored/socket ]; do
    tries=$((tries + 1))
    [ $tries -gt 100 ] && end "xenstored does not start"
    usleep 100000
done
xen-init-dom0 > /dev/null || end "xen-init-dom0 failed"
xenconsoled --pid-file /run/xenconsoled.pid

cd /root || exit
# In quotes as we write them, or as GRUB does.
command=$(sed -n 's/.*ireko\.exec="\([^"]*\)".*/\1/p; s/.*"ireko\.exec=\([^"]*\)".*/\1/p' /proc/cmdline)
if [ -n "$command" ]; then
    sh -c "$command" < /dev/hvc0 > /dev/hvc0 2>&1
    end "the command ended: exit status: $?"
fi
echo "ireko: this is Xen's dom0; start guests with: xl create -c /guest/pv.cfg (or pvh.cfg, hvm.cfg)"
setsid sh -c 'exec sh -l < /dev/hvc0 > /dev/hvc0 2>&1'
end "the shell ended"
