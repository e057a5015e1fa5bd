export GOCACHE="$PWD/cache" GOPATH="$PWD/path" GO111MODULE=off
go build -o program ../main.go
./program
sha256sum program
