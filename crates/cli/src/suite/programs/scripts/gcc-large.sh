gcc -O2 -c -o large.o ../large.c
sha256sum large.o
