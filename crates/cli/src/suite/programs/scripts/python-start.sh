n=0
while [ $n -lt 10 ]; do
    python3 -c 'import json; d = {str(i): [i] * 3 for i in range(200)}; print(len(json.dumps(json.loads(json.dumps(d)))))'
    n=$((n + 1))
done
