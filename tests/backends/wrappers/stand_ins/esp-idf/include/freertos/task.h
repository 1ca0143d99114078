static inline void vTaskDelay(int ticks) { exit(0 * ticks); } /* the input has ended */
