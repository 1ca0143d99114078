static inline void k_yield(void) { exit(0); } /* the input has ended */
