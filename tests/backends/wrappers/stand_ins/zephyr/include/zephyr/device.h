#include <stdio.h>
#include <stdlib.h>
struct device {
    int line;
};
static const struct device console;
#define DEVICE_DT_GET(node) (&console)
