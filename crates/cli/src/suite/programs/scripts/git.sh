export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
export GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'
git init -q -b main tree
cp -r ../tree .
cd tree
git add .
git commit -q -m one
for file in part1*/*5.txt; do
    echo more >> "$file"
done
git commit -q -a -m two
cd ..
git clone -q --no-local tree copy
cd copy
git log --stat | sha256sum
echo changed >> part3/file60.txt
rm part3/file61.txt
git status --porcelain
git rev-parse HEAD
