static inline int uart_poll_in(const struct device *line, unsigned char *c)
{
    const int found = getchar();
    (void)line;
    *c = (unsigned char)found;
    return found == EOF ? -1 : 0;
}
