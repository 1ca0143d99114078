/* What the sketches of the forms take of Arduino, on this machine: the serial line is standard input and output. */
#ifndef ARDUINO_H
#define ARDUINO_H

#include <cstdio>

enum { LOW, HIGH, OUTPUT, LED_BUILTIN = 13 };

struct Line {
    void begin(long) {}
    int available() { return std::feof(stdin) ? 0 : 1; }
    int read() { return std::getchar(); }
    void print(const char *text) { std::fputs(text, stdout); }
    void println(const char *text) { std::puts(text); }
};
static Line Serial;
static inline void pinMode(int, int) {}
static inline void digitalWrite(int, int) {}

void setup();
void loop();
int main()
{
    setup();
    while (!std::feof(stdin)) {
        loop();
    }
    return 0;
}
#endif
