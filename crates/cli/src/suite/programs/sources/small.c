#include <stdio.h>
#include <string.h>

int main(int count, char **words) {
    char text[64];
    int length = 0;
    for (int i = 1; i < count; i++)
        length += snprintf(text, sizeof text, "%d: %s", i, words[i]);
    puts(text);
    return strlen(text) > (size_t)length;
}
