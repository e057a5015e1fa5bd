# Runs in the new system, as root of it, while its packages are unpacked: configures them. What their scripts do once for each
# package, and long, is done once for all of them instead: nobody uses the system meanwhile.
root=$1 efi=$2
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LC_ALL=C
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true DPKG_FORCE=unsafe-io
info=/var/lib/dpkg/info
cd /

fail() {
    [ -s /run/log ] && tail -n 12 /run/log
    grep -a -m 3 -B 4 'error processing' /run/log
    echo "ireko: failed: $*"
    exit 1
}

# Puts something that does nothing in the place of a program, or of a package's script.
still='/usr/sbin/update-initramfs /usr/sbin/update-grub /usr/sbin/grub-install /usr/bin/py3compile
/usr/lib/python3.11/py_compile.py'
for script in locales.config locales.postinst ca-certificates.config ca-certificates.postinst; do
    still="$still $info/$script"
done
for program in $still; do
    [ -e "$program" ] || continue
    mv "$program" "$program.still"
    case $program in
    *.py) : > "$program" ;;
    *) printf '#!/bin/sh\nexit 0\n' > "$program" ;;
    esac
    chmod 755 "$program"
done
awake() {
    for program in $still; do
        [ ! -e "$program.still" ] || mv -f "$program.still" "$program"
    done
}

# Nothing is started here.
printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d

# Beside all the rest: Python's modules.
compile() {
    mkdir -p /run/python
    for old in /usr/lib/python3.*/py_compile.py.still; do
        [ ! -e "$old" ] || cp "$old" /run/python/py_compile.py
    done
    for python in /usr/bin/python3.[0-9]*; do
        case $python in *-config) continue ;; esac
        PYTHONPATH=/run/python "$python" -S -m compileall -q "/usr/lib/${python##*/}" /usr/lib/python3/dist-packages
    done
}
compile > /run/compile.log 2>&1 &

printf 'UUID=%s / ext4 rw,discard,errors=remount-ro 0 1\nUUID=%s /boot/efi vfat umask=0077 0 0\n' \
    "$(blkid -s UUID -o value "$root")" "$(blkid -s UUID -o value "$efi")" > /etc/fstab

# What dpkg runs before it unpacks; users and groups come first.
before() {
    package=${1##*/}
    package=${package%.preinst}
    DPKG_MAINTSCRIPT_PACKAGE=${package%:*} DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_MAINTSCRIPT_ARCH=amd64 \
        DPKG_MAINTSCRIPT_NAME=preinst "$1" install > /run/log 2>&1 || cat /run/log
}
before $info/base-passwd.preinst
for script in $info/*.preinst; do
    case $script in
    */base-passwd.preinst | */usr-is-merged.preinst) ;;
    *) before "$script" ;;
    esac
done

# Each machine makes its own keys when it starts for the first time.
for kind in rsa ecdsa ed25519; do
    : > /etc/ssh/ssh_host_${kind}_key
done

echo "ireko: step configure packages"
dpkg --configure -a > /run/log 2>&1 || fail "dpkg --configure -a"
awake
: > /run/log

echo "ireko: step make certificates, initramfs and boot loaders"
# As update-ca-certificates does it.
(cd /usr/share/ca-certificates && find . -name '*.crt' | sed 's/^..//' | sort) > /etc/ca-certificates.conf
perl -e '
    open my $all, ">", "/etc/ssl/certs/ca-certificates.crt" or die;
    for my $file (sort glob "/usr/share/ca-certificates/mozilla/*.crt") {
        open my $one, "<", $file or die;
        local $/;
        my $text = <$one>;
        print $all $text, $text =~ /\n$/ ? "" : "\n";
        my ($name) = $file =~ m{([^/]*)\.crt$};
        symlink $file, "/etc/ssl/certs/$name.pem";
    }' || fail "certificates"
openssl rehash /etc/ssl/certs >> /run/log 2>&1 || fail "openssl rehash"
sed 's/^[a-zA-Z]/# &/' /usr/share/i18n/SUPPORTED > /etc/locale.gen

loaders() {
    grub-install --target=i386-pc /dev/vda &&
        grub-install --target=x86_64-efi --no-nvram --uefi-secure-boot --force-extra-removable
}
loaders > /run/loaders.log 2>&1 &
loaders=$!
version=$(ls /lib/modules)
update-initramfs -c -k "$version" >> /run/log 2>&1 || fail "update-initramfs"
wait $loaders || { cat /run/loaders.log; fail "grub-install"; }
update-grub >> /run/log 2>&1 || fail "update-grub"
[ -s /boot/grub/grub.cfg ] && [ -s /boot/efi/EFI/BOOT/BOOTX64.EFI ] || fail "there is no boot loader"

echo "ireko: step finish"
wait
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub /usr/sbin/policy-rc.d
rm -f /var/lib/dpkg/*-old /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache
: > /etc/machine-id
rm -f /var/lib/dbus/machine-id
systemctl enable systemd-networkd systemd-resolved > /dev/null 2>&1
systemctl mask systemd-networkd-wait-online > /dev/null 2>&1
# Of snapshots of LVM, which is not here.
systemctl disable e2scrub_reap e2scrub_all.timer > /dev/null 2>&1
exit 0
