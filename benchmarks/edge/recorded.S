/* Recorded episodes, byte for byte; every target is little-endian. */
    .section .recorded, "a"
    .balign 8
    .global recorded_obs
recorded_obs:
    .incbin "obs.bin"
    .global recorded_avail
recorded_avail:
    .incbin "avail.bin"
    .global recorded_first
recorded_first:
    .incbin "first.bin"
    .section .note.GNU-stack, "", %progbits
