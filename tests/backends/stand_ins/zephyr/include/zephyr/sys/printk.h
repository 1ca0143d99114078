#define printk printf
