#!/bin/busybox sh
# Process 1 of the machine that installs: makes the file systems of /dev/vda, unpacks the packages of /dev/vdb there, and has
# them configured inside. Lines that begin with "ireko: " are for who started it.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TERM=linux MKE2FS_CONFIG=/own/mke2fs.conf
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

fail() {
    echo "ireko: failed: $*"
    poweroff -f
}

while read -r module; do
    insmod "/lib/modules/$module.ko" || fail "the driver $module does not load"
done < /lib/modules/order

echo "ireko: step make file systems"
root=/dev/vda1 efi=/dev/vda15
/own/mke2fs -q -F -t ext4 -L root -E lazy_itable_init=1,lazy_journal_init=1,nodiscard "$root" || fail "no file system on $root"
/own/mkfs.fat -F 32 -n EFI "$efi" > /dev/null 2>&1 || fail "no file system on $efi"
mkdir -p /mnt
mount -t ext4 -o noatime,data=writeback,commit=600 "$root" /mnt || fail "cannot mount $root"

echo "ireko: step unpack packages"
tar xpf /dev/vdb -C /mnt || fail "cannot unpack the packages"
mkdir -p /mnt/boot/efi /mnt/proc /mnt/sys /mnt/dev /mnt/run /mnt/tmp
chmod 1777 /mnt/tmp
mount -t vfat "$efi" /mnt/boot/efi || fail "cannot mount $efi"
mount -t proc proc /mnt/proc
mount -t sysfs sysfs /mnt/sys
mount -o bind /dev /mnt/dev
mkdir -p /mnt/dev/pts
mount -t devpts devpts /mnt/dev/pts
mount -t tmpfs tmpfs /mnt/run
mount -t tmpfs tmpfs /mnt/tmp
cp /own/configure.sh /mnt/run/configure.sh

chroot /mnt /bin/sh /run/configure.sh "$root" "$efi" || fail "the packages cannot be configured"

for part in tmp run dev/pts dev sys proc boot/efi; do
    umount "/mnt/$part" || fail "cannot unmount $part"
done
umount /mnt || fail "cannot unmount $root"
sync
echo "ireko: done"
poweroff -f
