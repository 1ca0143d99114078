// SPDX-License-Identifier: Apache-2.0
// The module as an object: Network.from(bytes) in a page or in Node.
"use strict";

class Network {
  /** @param {BufferSource} bytes the .wasm file */
  static async from(bytes) {
    const { instance } = await WebAssembly.instantiate(bytes, {});
    return new Network(instance.exports);
  }

  constructor(exports) {
    this.module = exports;
    this.module.start();
    this.size = exports.value_count(); // numbers of a sample
    this.classes = exports.classes();
    this.least = exports.least();
    this.most = exports.most();
  }

  bytes(at, count) {
    return new Uint8Array(this.module.memory.buffer, at, count);
  }

  put(values) {
    if (values.length !== this.size) throw new RangeError(`a sample has ${this.size} numbers, not ${values.length}`);
    new Float32Array(this.module.memory.buffer, this.module.values(), this.size).set(values);
  }

  /** The class of a sample of numbers, in the units of the training data. */
  infer(values) {
    this.put(values);
    return this.module.infer();
  }

  /** Learns a sample; gives the class that it was taken for before. */
  learn(values, label) {
    this.put(values);
    const said = this.module.learn(label);
    if (said < 0) throw new RangeError(`refused with status ${said}; classes are 0 to ${this.classes - 1}`);
    return said;
  }

  /** Of the last sample. */
  scores() {
    return Array.from({ length: this.classes }, (_, c) => this.module.score(c));
  }

  steps() {
    return this.module.steps() >>> 0;
  }

  /** A copy of what learning has changed. */
  state() {
    return this.bytes(this.module.state(), this.module.state_bytes()).slice();
  }

  /** Bytes that load takes. */
  save() {
    if (this.module.save() < 0) throw new Error("the state could not be saved");
    return this.bytes(this.module.slots_at(), this.module.slots_bytes()).slice();
  }

  load(saved) {
    const slots = this.bytes(this.module.slots_at(), this.module.slots_bytes());
    if (saved.length !== slots.length) throw new RangeError(`a saved state has ${slots.length} bytes, not ${saved.length}`);
    slots.set(saved);
    if (this.module.load() < 0) throw new Error("the saved state is damaged, or of another program");
  }

  /** The weights of the export again. */
  reset() {
    this.module.start();
  }
}

if (typeof module !== "undefined") module.exports = { Network };
