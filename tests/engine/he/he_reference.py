#!/usr/bin/env python3
"""Known answers for engine/he, from the definitions: big integers, no residues but on the wire.

Follows the texts of sampling.h, rlwe.h, galois.h and wire.h and shares no code or method with the
C++: polynomials are lists of integers, products go through one huge integer (Kronecker), Chinese
remainders and roundings are exact. Prints what test_he_rlwe.cpp has written down. Needs Python 3 and
the openssl program (AES-CTR). Takes some seconds.
"""

import hashlib
import struct
import subprocess

N = 4096
SECRET, OPEN = bytes(range(32)), bytes(range(100, 132))  # client; the engine's have 200 added mod 256


def is_prime(n):
    return n > 1 and all(pow(a, n - 1, n) == 1 for a in (2, 3, 5, 7, 11, 13)) and all(
        n % p for p in range(2, 2000) if p < n)


def primes(sizes, last={}):
    result = []
    for bits in sizes:
        candidate = last.get(bits, (1 << bits) + 1)
        candidate -= (candidate - 1) % (2 * N) or 2 * N
        while not is_prime(candidate):
            candidate -= 2 * N
        last[bits] = candidate
        result.append(candidate)
    return result


def product(values):
    result = 1
    for value in values:
        result *= value
    return result


Q, P, R = primes([36, 36]), primes([36]), primes([30, 37])
QQ, PP, RR = product(Q), product(P), product(R)


class Stream:
    def __init__(self, seed, label):
        self.seed, self.label, self.at, self.words = seed, label, 0, []

    def take(self, count):
        if self.at + count > len(self.words):
            total = 2 * (self.at + count)
            out = subprocess.run(
                ["openssl", "enc", "-aes-256-ctr", "-nopad", "-K", self.seed.hex(), "-iv",
                 (struct.pack("<Q", self.label) + bytes(8)).hex()],
                input=bytes(8 * total), stdout=subprocess.PIPE, check=True).stdout
            self.words = list(struct.unpack("<%dQ" % total, out))
        self.at += count
        return self.words[self.at - count:self.at]


class Sampler:
    def __init__(self, secret, opened):
        self.words, self.seeds = Stream(secret, 0), Stream(opened, 1)

    def ternary(self):
        return [(3 * w >> 64) - 1 for w in self.words.take(N)]

    def error(self):
        return [bin(w & 0x1FFFFF).count("1") - bin(w >> 21 & 0x1FFFFF).count("1")
                for w in self.words.take(N)]

    def flooding(self, bits):  # one digit of at most 48 bits is enough here
        return [(w >> 64 - bits) - (1 << bits - 1) for w in self.words.take(N)]

    def seed(self):
        return struct.pack("<4Q", *self.seeds.take(4))


def uniform(basis, seed, first=0):
    """The transforms: entries at the odd powers of a root, in bit-reversed order."""
    limbs = []
    for i, q in enumerate(basis):
        stream, limb, mask = Stream(seed, first + i), [], (1 << q.bit_length()) - 1
        while len(limb) < N:
            limb += [w & mask for w in stream.take(N - len(limb)) if w & mask < q]
        limbs.append(limb)
    return limbs


def reverse(i):
    return int(format(i, "0%db" % (N.bit_length() - 1))[::-1], 2)


def root(q):
    g = next(g for g in range(2, 1000) if pow(pow(g, (q - 1) // (2 * N), q), N, q) == q - 1)
    return pow(g, (q - 1) // (2 * N), q)


def fourier(values, w, q):
    """sum over i of values[i]·w^(ij) for all j."""
    if len(values) == 1:
        return values
    even, odd = fourier(values[::2], w * w % q, q), fourier(values[1::2], w * w % q, q)
    half, power, low, high = len(even), 1, [], []
    for j in range(half):
        t = power * odd[j]
        low.append((even[j] + t) % q)
        high.append((even[j] - t) % q)
        power = power * w % q
    return low + high


def transform(x, q):
    psi = root(q)
    values = fourier([c * pow(psi, i, q) % q for i, c in enumerate(x)], psi * psi % q, q)
    return [values[reverse(i)] for i in range(N)]  # entry i at psi^(2 rev(i) + 1)


def untransform(limb, q):
    psi = root(q)
    natural = [limb[reverse(j)] for j in range(N)]
    back = fourier(natural, pow(psi, -2, q), q)
    inverse = pow(N, -1, q)
    return [c * inverse * pow(psi, -i, q) % q for i, c in enumerate(back)]


def crt(limbs, basis):
    modulus = product(basis)
    factors = [modulus // q * pow(modulus // q, -1, q) for q in basis]
    return [sum(f * limb[i] for f, limb in zip(factors, limbs)) % modulus for i in range(N)]


def multiply(x, y, modulus):
    """Negacyclic, of integers of any sign."""
    x, y = [c % modulus for c in x], [c % modulus for c in y]
    width = (2 * modulus.bit_length() + 14 + 7) // 8
    pack = lambda v: int.from_bytes(b"".join(c.to_bytes(width, "little") for c in v), "little")
    raw = (pack(x) * pack(y)).to_bytes(2 * N * width, "little")
    c = [int.from_bytes(raw[i * width:(i + 1) * width], "little") for i in range(2 * N)]
    return [(c[i] - c[i + N]) % modulus for i in range(N)]


def add(modulus, *polys):
    return [sum(c) % modulus for c in zip(*polys)]


def centred(x, modulus):
    return [(c + modulus // 2) % modulus - modulus // 2 for c in x]  # the modulus is odd


def rounded(a, b):
    return (2 * a + b) // (2 * b)


def galois(x, k, modulus):
    out = [0] * N
    for i, c in enumerate(x):
        at = i * k % (2 * N)
        out[at % N] = c if at < N else -c % modulus
    return out


def identity():
    words = [N]
    for basis in (Q, P, R, []):
        words += [len(basis)] + basis
    return hashlib.sha256(struct.pack("<%dQ" % len(words), *words)).digest()[:8]


def packed(limb, q):
    bits = q.bit_length()
    value = 0
    for c in reversed(limb):
        value = value << bits | c
    return value.to_bytes((len(limb) * bits + 7) // 8, "little")


def packed_poly(x, basis):
    return b"".join(packed(transform([c % q for c in x], q), q) for q in basis)


def header(kind):
    return b"PBHE" + bytes([1, kind, 0, 0]) + identity()


def show(name, data):
    print("%-12s %6d bytes  %s" % (name, len(data), hashlib.sha256(data).hexdigest()[:32]))


def main():
    client = Sampler(SECRET, OPEN)
    engine = Sampler(bytes((b + 200) % 256 for b in SECRET), bytes((b + 200) % 256 for b in OPEN))
    print("primes", Q, P, R)

    s = client.ternary()
    seed, e = client.seed(), client.error()
    pk_a = crt([untransform(l, q) for l, q in zip(uniform(Q, seed), Q)], Q)
    pk_b = add(QQ, e, [-c for c in multiply(pk_a, s, QQ)])
    show("public key", header(2) + seed + packed_poly(pk_b, Q))

    x = [(i + 1) * 0x9E3779B97F4A7C15 % 2**64 for i in range(N)]
    seed, e = client.seed(), client.error()
    c1 = crt([untransform(l, q) for l, q in zip(uniform(Q, seed), Q)], Q)
    message = [rounded(QQ * v, 2**64) for v in x]
    c0 = add(QQ, message, e, [-c for c in multiply(c1, s, QQ)])
    show("ciphertext", header(1) + seed + packed_poly(c0, Q))

    k = 5
    seed = client.seed()
    target = centred(galois([c % QQ for c in s], pow(k, -1, 2 * N), QQ), QQ)
    full, modulus = Q + P, QQ * PP
    keys, body = [], struct.pack("<I", k) + seed
    for i, q in enumerate(Q):
        limbs = uniform(full, seed, i * len(full))
        # Mod the primes of Q the seed gives a/P.
        limbs = [[c * PP % m for c in l] if m in Q else l for l, m in zip(limbs, full)]
        a = crt([untransform(l, m) for l, m in zip(limbs, full)], full)
        others = QQ // q
        gadget = PP * others * pow(others, -1, q)
        b = add(modulus, client.error(), [-c for c in multiply(a, target, modulus)],
                [gadget * c for c in s])
        keys.append((b, a))
        for m in full:
            factor = pow(PP, -1, m) if m in Q else 1
            body += packed(transform([c * factor % m for c in b], m), m)
    show("Galois key", header(3) + body)

    factor = [(7 * i) % 16 - 8 for i in range(N)]
    c0, c1 = multiply(c0, factor, QQ), multiply(c1, factor, QQ)
    sums = [[0] * N, [0] * N]
    for i, q in enumerate(Q):
        digit = [c % q for c in c1]
        for half in (0, 1):
            sums[half] = add(modulus, sums[half], multiply(digit, keys[i][half], modulus))
    low = [centred([c % PP for c in half], PP) for half in sums]
    divided = [[(c - r) // PP % QQ for c, r in zip(half, rest)] for half, rest in zip(sums, low)]
    c0, c1 = galois(add(QQ, divided[0], c0), k, QQ), galois(divided[1], k, QQ)
    show("automorphism", packed_poly(c0, Q) + packed_poly(c1, Q))

    u, e0, e1 = engine.ternary(), engine.error(), engine.error()
    mask = [rounded(QQ * (v * v % 2**64), 2**64) for v in x]
    c0 = add(QQ, c0, multiply(pk_b, u, QQ), e0, mask, engine.flooding(20))
    c1 = add(QQ, c1, multiply(pk_a, u, QQ), e1)
    wanted = [0, 7, 1000, 4095]
    r0, r1 = [[rounded(c * RR, QQ) % RR for c in half] for half in (c0, c1)]
    body = b"".join(packed([r0[i] % q for i in wanted], q) for q in R)
    body += b"".join(packed([c % q for c in r1], q) for q in R)
    show("reply", header(4) + body)

    phase = add(RR, r0, multiply(r1, s, RR))
    print("decoded", ["0x%016x" % (rounded(2**64 * phase[i], RR) % 2**64) for i in wanted])


main()
