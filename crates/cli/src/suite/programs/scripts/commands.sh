n=0
while [ $n -lt 200 ]; do
    /bin/true
    echo a $n | sed s/a/c/ | cut -d' ' -f2 >> said
    n=$((n + 1))
done
sha256sum said
