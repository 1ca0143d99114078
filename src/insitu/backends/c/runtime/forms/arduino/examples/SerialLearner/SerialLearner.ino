/* SPDX-License-Identifier: Apache-2.0
 *
 * Learns from the serial line, a line a sample, and shows by the LED that the last sample was named right:
 *
 *     3 0.5 0 0.25 ...   a sample of class 3: named, then learned
 *     ? 0.5 0 0.25 ...   a sample: named
 *     !                  step count and CRC-32 of the state
 *
 * A sensor in place of the line: fill an array of INSITU_SAMPLE_VALUES readings, in the units of the training data, and
 * call insitu_quantize_input, insitu_infer and insitu_learn as insitu_serial.h does.
 */
#include <insitu_net.h>
#include <insitu_serial.h>

static insitu_serial serial;

void setup()
{
    Serial.begin(115200);
    pinMode(LED_BUILTIN, OUTPUT);
    insitu_serial_begin(&serial);
    Serial.println("ready");
}

void loop()
{
    char answer[INSITU_SERIAL_ANSWER];
    const uint32_t right = serial.right;
    if (Serial.available() > 0 && insitu_serial_take(&serial, (char)Serial.read(), answer)) {
        Serial.print(answer);
        digitalWrite(LED_BUILTIN, serial.right > right ? HIGH : LOW);
    }
}
