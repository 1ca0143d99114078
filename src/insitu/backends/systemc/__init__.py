"""SystemC: the learning engine as a plain C++ class, and around it a TLM-2.0 module, a platform and faces."""
