xz -c -T1 -6 ../text > text.xz
xz -d -c text.xz | sha256sum
sha256sum < text.xz
