n=0 sum=0
while [ $n -lt 2000 ]; do
    sum=$((sum + $(echo $n)))
    n=$((n + 1))
done
echo $sum
