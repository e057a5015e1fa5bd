n=0
while [ $n -lt 10 ]; do
    gcc -O2 -o small ../small.c
    n=$((n + 1))
done
./small a b
sha256sum small
