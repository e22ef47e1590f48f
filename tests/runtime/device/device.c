/* An agent on a wire: exported C (agent.h) behind the protocol of docs/agent-protocol.md, in C99.

   Only get() and put() know the machine; here the wire is standard input and output. All memory is static.
   Byte order and alignment: a little-endian processor; the observation begins at a multiple of four. */
#define _POSIX_C_SOURCE 200809L
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"

enum { HELLO = 1, READY, START, STARTED, STEP, ACTION, REPLACED, ERROR, BYE };
enum { MALFORMED = 1, VERSION, CHECKSUM, SIZES, INPUT };
enum { HEADER = 12, STEP_BYTES = 4 * AGENT_OBS_DIM + AGENT_N_ACTIONS, MOST = STEP_BYTES > 16 ? STEP_BYTES : 16 };

static union {
    float aligned; /* of the whole buffer */
    uint8_t bytes[HEADER + MOST + 4];
} in;
static uint8_t out[HEADER + 96 + 4];
static agent_state state;

static int get(uint8_t *to, uint32_t n) /* n bytes; 0 when the wire has ended */
{
    while (n) {
        ssize_t got = read(0, to, n);
        if (got <= 0) return 0;
        to += got;
        n -= (uint32_t)got;
    }
    return 1;
}

static int put(const uint8_t *from, uint32_t n)
{
    while (n) {
        ssize_t went = write(1, from, n);
        if (went <= 0) return 0;
        from += went;
        n -= (uint32_t)went;
    }
    return 1;
}

static uint32_t crc32(const uint8_t *at, uint32_t n)
{
    uint32_t crc = 0xFFFFFFFFu;
    while (n--) {
        crc ^= *at++;
        for (int k = 0; k < 8; k++) crc = (crc >> 1) ^ (0xEDB88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

static uint32_t u32(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void set32(uint8_t *at, uint32_t value)
{
    for (int k = 0; k < 4; k++) at[k] = (uint8_t)(value >> (8 * k));
}

static int say(uint8_t type, uint32_t sequence, uint32_t length) /* the payload stands in out + HEADER */
{
    out[0] = 'M', out[1] = 'E', out[2] = 1, out[3] = type;
    set32(out + 4, sequence);
    set32(out + 8, length);
    set32(out + HEADER + length, crc32(out, HEADER + length));
    return put(out, HEADER + length + 4);
}

static int complain(uint32_t code, uint32_t sequence, const char *text)
{
    uint32_t length = (uint32_t)strlen(text);
    set32(out + HEADER, code);
    memcpy(out + HEADER + 4, text, length);
    return say(ERROR, sequence, 4 + length);
}

static int32_t expected_length(uint8_t type, int ready) /* -1: not this type, not now */
{
    if (type == BYE) return 0;
    if (!ready) return type == HELLO ? 16 : -1;
    return type == STEP ? STEP_BYTES : type == START ? 0 : type == REPLACED ? 4 : -1;
}

static int answer(uint8_t type, uint32_t sequence, const uint8_t *payload)
{
    if (type == HELLO) {
        uint32_t id = u32(payload + 12);
        if (u32(payload) != AGENT_OBS_DIM || u32(payload + 4) != AGENT_N_ACTIONS
            || u32(payload + 8) != AGENT_N_AGENTS || id >= AGENT_N_AGENTS)
            return complain(SIZES, sequence, "device: made for other sizes"), 0;
        agent_reset(&state, (int)id);
        memset(out + HEADER, 0, 56);
        memcpy(out + HEADER, payload, 16);
        memcpy(out + HEADER + 56, "C99", 3);
        return say(READY, sequence, 59);
    }
    if (type == START) {
        agent_reset(&state, state.agent_id);
        return say(STARTED, sequence, 0);
    }
    if (type == REPLACED) {
        if (u32(payload) >= AGENT_N_ACTIONS) return complain(INPUT, sequence, "device: no such action");
        state.last_action = (int)u32(payload);
        return 1;
    }
    const float *obs = (const float *)(const void *)payload;
    for (int i = 0; i < AGENT_OBS_DIM; i++)
        if (obs[i] - obs[i] != 0.0f) return complain(INPUT, sequence, "device: obs must be finite");
    int action = agent_act(obs, payload + 4 * AGENT_OBS_DIM, &state);
    if (action < 0) return complain(INPUT, sequence, "device: no action available");
    set32(out + HEADER, (uint32_t)action);
    return say(ACTION, sequence, 4);
}

int main(void)
{
    int ready = 0;
    while (get(in.bytes, HEADER)) {
        uint8_t type = in.bytes[3];
        int32_t length = expected_length(type, ready);
        if (in.bytes[0] != 'M' || in.bytes[1] != 'E') return complain(MALFORMED, 0, "device: magic"), 1;
        if (in.bytes[2] != 1) return complain(VERSION, 0, "device: version must be 1"), 1;
        if (length < 0 || u32(in.bytes + 8) != (uint32_t)length)
            return complain(MALFORMED, 0, "device: type or length"), 1;
        uint32_t end = HEADER + (uint32_t)length;
        if (!get(in.bytes + HEADER, (uint32_t)length + 4)) return 1;
        if (crc32(in.bytes, end) != u32(in.bytes + end)) {
            if (!complain(CHECKSUM, 0, "device: checksum")) return 1;
            continue;
        }
        if (type == BYE || !answer(type, u32(in.bytes + 4), in.bytes + HEADER)) break;
        ready = 1;
    }
    return 0;
}
