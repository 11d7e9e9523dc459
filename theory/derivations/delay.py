"""Delay that one request adds: from when each request ends to the scores that order instances.

Glossary: ``q`` queued prefill tokens, ``n`` new prefill tokens [token], ``B`` batch size [request], ``tau`` time per
prefill token [s/token], ``gamma`` decode step time per request [s/request], ``c`` step time per KV token [s/token],
``T0`` step time with nothing in it [s], ``n_out`` output tokens, ``L`` prompt tokens, ``K`` KV tokens of the others.
"""

from __future__ import annotations

import sympy as sp

from scheduler import formulas
from theory.derivation import Derivation, derivation
from theory.ops import SYMPY

q, c, gamma, T0, R = sp.symbols("q c gamma T0 R", nonnegative=True)
n, tau, chunk = sp.symbols("n tau chunk", positive=True)
B, n_out, L, m = sp.symbols("B n_out L m", positive=True, integer=True)
k, t = sp.symbols("k t", positive=True, integer=True)

TAU = {tau: "engine time per prefill token [s/token]"}
PREFILL = {q: "prefill tokens queued [token]", n: "new prefill tokens [token]", B: "batch size [request]", **TAU}
DECODE = {
    n_out: "output tokens of the request [token]",
    gamma: "decode step time per request [s/request]",
    T0: "time of a step with nothing in it [s]",
    **TAU,
}
READS = {c: "step time per KV token read [s/token]", L: "prompt tokens [token]"}


@derivation
def marginal_delay() -> Derivation:
    """Own wait, and the shift of each other end, summed over the others."""
    left = sp.IndexedBase("d", positive=True)
    work = Derivation(
        "With prefill first come, first served, ahead of decode, a request adds tau (q + n B) of delay.",
        {**PREFILL, left[k]: "decode time that request k has left [s]"},
    )
    without, with_it = tau * q + left[k], tau * (q + n) + left[k]
    work.display("Without the request k ends once the queue is prefilled and its own decode is done.", without)
    work.display("With it, k still being unfinished, one more prefill goes ahead of its decode.", with_it)
    work.equal("The end of each other request moves by one prefill.", with_it - without, tau * n)
    others = sp.Sum(with_it - without, (k, 1, B - 1)).doit()
    work.equal("Summed over the B - 1 others.", others, tau * n * (B - 1))
    own = tau * q + tau * n
    work.display("The request itself waits for the queue and for its own prefill.", own)
    added = formulas.marginal_delay(q, n, B)
    work.equal("In total, the marginal delay in units of tau.", own + others, tau * added)
    work.conclude("Delay added, in prefill tokens.", added)
    return work


@derivation
def delay_of_those_affected() -> Derivation:
    """Who has ended loses nothing; who comes before the prefill ends loses as much as the others."""
    finished, later = sp.symbols("F A", nonnegative=True, integer=True)
    work = Derivation(
        "Short outputs and later arrivals change how many the prefill delays, not the form.",
        {**PREFILL, finished: "others that end before the prefill runs", later: "arrivals before the queue is done"},
    )
    total = tau * (q + n) + sp.Sum(tau * n, (k, 1, B - 1 - finished)).doit() + sp.Sum(tau * n, (t, 1, later)).doit()
    work.equal(
        "Own wait, one prefill for each other that is left, and one for each arrival that queues behind it.",
        total,
        tau * formulas.marginal_delay(q, n, B - finished + later),
    )
    work.equal(
        "An early end lowers the delay by n, an arrival raises it by n.",
        formulas.marginal_delay(q, n, B - finished + later),
        formulas.marginal_delay(q, n, B) + n * (later - finished),
    )
    work.conclude("Delay added, in prefill tokens.", formulas.marginal_delay(q, n, B - finished + later))
    return work


@derivation
def later_arrivals_amplify_the_delay() -> Derivation:
    """Fluid: how far a shift grows while arrivals go on, and how long arrivals wait behind the request."""
    rho, u, x = sp.symbols("rho u x", positive=True)
    p = sp.Symbol("p", positive=True)
    work = Derivation(
        "Arrivals that keep the prefill busy a share rho of the time amplify what the others lose by 1/(1 - rho).",
        {**PREFILL, rho: "share of the time the prefill is busy, < 1", p: "new tokens of an arrival [token]"},
    )
    shift = sp.solve(sp.Eq(x, tau * n + rho * x), x)[0]
    work.equal("An end that moves by x meets rho x more prefill: x = tau n + rho x.", shift, tau * n / (1 - rho))
    before, after = tau * q / (1 - rho), tau * (q + n) / (1 - rho)
    work.display("The backlog shrinks at the rate 1 - rho: it is gone without and with the request at", (before, after))
    while_both, then = sp.integrate(tau * n, (u, 0, before)), sp.integrate((1 - rho) * u, (u, 0, after - before))
    longer = tau**2 * n * (q + n / 2) / (1 - rho)
    work.equal("The backlogs differ by tau n, then by what is left: the area between.", while_both + then, longer)
    behind = rho / (tau * p) * longer
    work.equal("Arrivals per second are rho/(tau p), so they lose", behind, tau * rho * n * (q + n / 2) / p / (1 - rho))
    added = formulas.loaded_delay(q, n, B, rho, p)
    work.equal("Own wait, others and arrivals.", tau * (q + n) + shift * (B - 1) + behind, tau * added)
    work.equal("Without load, the marginal delay.", added.subs(rho, 0), formulas.marginal_delay(q, n, B))
    work.conclude("Delay added, in prefill tokens.", added)
    return work


@derivation
def chunked_prefill_lengthens_the_own_wait() -> Derivation:
    """Steps with prefill and decode in them: the overhead goes to the own wait, the others lose what they lost."""
    mine, others = sp.IndexedBase("x", nonnegative=True), sp.IndexedBase("p", nonnegative=True)
    r = sp.Symbol("r", positive=True, integer=True)
    work = Derivation(
        "Chunked prefill adds the overhead of the steps of the own wait, and nothing else.",
        {
            **PREFILL,
            chunk: "prefill tokens of a step [token]",
            R: "requests that decode beside the chunks",
            r: "steps that another request still needs",
            mine[t]: "new prefill tokens of the request in step t, n in all [token]",
            others[t]: "other prefill tokens in step t [token]",
        },
    )
    fixed = T0 + gamma * R
    shift = (fixed + tau * (others[t] + mine[t])) - (fixed + tau * others[t])
    work.equal(
        "A step is longer by its share of the new tokens; the number of steps is the same.", shift, tau * mine[t]
    )
    over_steps = sp.Sum(shift.expand(), (t, 1, r))
    work.equal("So it loses tau times their sum, which is n.", over_steps, tau * sp.Sum(mine[t], (t, 1, r)))
    e = formulas.step_overhead(T0, gamma, R, tau, chunk)
    own = (q + n) / chunk * (fixed + tau * chunk)
    work.equal("The own wait is a whole number of full steps.", own, tau * (q + n) * (1 + e))
    added = formulas.chunked_delay(q, n, B, e)
    work.equal("With the others.", own + tau * n * (B - 1), tau * added)
    above = sp.Symbol("b", nonnegative=True)
    work.holds(
        "With B = 1 + b: the factor over the plain form is at most 1 + e.",
        added.subs(B, 1 + above),
        "<=",
        (1 + e) * formulas.marginal_delay(q, n, 1 + above),
    )
    work.conclude("Delay added, in prefill tokens.", added)
    return work


@derivation
def product_is_marginal_delay_plus_cross_term() -> Derivation:
    """Multiply out; then compare through the product."""
    work = Derivation("The product is the marginal delay and a term of queue times batch.", PREFILL)
    least, cross = formulas.marginal_delay(q, n, B), formulas.cross_term(q, B)
    work.equal("Multiply out.", (q + n) * B, least + cross)
    work.equal("With nothing queued the two are one.", ((q + n) * B).subs(q, 0), least.subs(q, 0))
    regret = formulas.product_regret(q, n, B)
    work.equal(
        "The choice k costs at most P_k B_k <= P_j B_j, over the least harm of j.", regret, (q + n) * B / (q + n * B)
    )
    above = sp.Symbol("b", nonnegative=True)
    regret = regret.subs(B, 1 + above)
    work.holds("With B = 1 + b it is at most the batch,", regret, "<=", 1 + above)
    work.holds("and at most the ratio of all prefill to new prefill.", regret, "<=", (q + n) / n)
    work.equal("As the queue grows it tends to the batch.", sp.limit(regret, q, sp.oo), 1 + above)
    work.conclude("Delay by the product's choice over the least, at most [1].", formulas.product_regret(q, n, B))
    return work


@derivation
def decode_offset() -> Derivation:
    """What the request and each other one cost each other in decode, step by step."""
    s = sp.Symbol("s", positive=True, integer=True)
    work = Derivation(
        "Each other request costs two prices of a decode slot for every shared step.", {**PREFILL, **DECODE}
    )
    others, own = sp.Sum(gamma, (t, 1, s)).doit(), sp.Sum(T0 + gamma * B, (t, 1, n_out)).doit()
    work.equal("In s shared steps one more in the batch costs another request", others, gamma * s)
    pair = formulas.pair_decode_delay(s, gamma)
    work.equal("and the other one costs the request the same: a factor of two.", 2 * others, pair)
    alone = n_out * (T0 + gamma)
    work.equal(
        "If all outlive it: its own decode, and the others' loss.",
        own + others.subs(s, n_out) * (B - 1),
        alone + pair.subs(s, n_out) * (B - 1),
    )
    kappa = formulas.kappa(tau, gamma, n_out)
    total = tau * formulas.marginal_delay(q, n, B) + alone + pair.subs(s, n_out) * (B - 1)
    work.equal(
        "With prefill: the marginal delay with the offset, and a constant.",
        total,
        tau * formulas.marginal_delay(q, n, B, kappa) + n_out * (T0 - gamma),
    )
    work.conclude("The offset [token].", kappa)
    return work


@derivation
def overlap_of_two_outputs() -> Derivation:
    """Expected shared steps over the request's own steps, for a residual that is uniform, or without memory."""
    x, y = sp.symbols("x y", positive=True)
    own, more = sp.symbols("n_out d", positive=True)
    work = Derivation(
        "The share of its decode steps that another request shares.",
        {
            own: "output tokens of the request [token]",
            y: "residual output of the other [token]",
            more: "any length > 0",
        },
    )
    residual = sp.Sum(t, (t, 0, n_out)).doit() / (n_out + 1)
    work.equal("Same length, residual uniform on 0 .. n_out: half the steps.", residual, n_out / 2)
    longer = own + more
    shared = (sp.integrate(y, (y, 0, own)) + sp.integrate(own, (y, own, longer))) / longer
    work.equal("A longer other, residual uniform.", shared / own, 1 - own / (2 * longer))
    work.equal("The formula there.", shared / own, formulas.uniform_overlap(SYMPY, own, longer))
    shorter = sp.integrate(y, (y, 0, own)) / own / (own + more)
    work.equal("A shorter other: its own mean residual.", shorter, formulas.uniform_overlap(SYMPY, own + more, own))
    work.holds("Then it is less than half.", shorter, "<", sp.Rational(1, 2))
    work.equal("At equal lengths.", formulas.uniform_overlap(SYMPY, own, own), sp.Rational(1, 2))
    work.equal("If all outlive it.", sp.limit(1 - own / (2 * x), x, sp.oo), 1)
    both_last = sp.integrate(sp.exp(-x / own) * sp.exp(-x / own), (x, 0, sp.oo))
    work.equal("Both outputs without memory, one mean: half the steps on average.", both_last / own, sp.Rational(1, 2))
    theirs_lasts = sp.integrate(sp.exp(-y / own), (y, 0, own))
    work.equal("Only the other's without memory, n_out given: more than that.", theirs_lasts / own, 1 - sp.exp(-1))
    work.equal("The offset at one half.", formulas.kappa(tau, gamma, own, sp.Rational(1, 2)), gamma * own / tau)
    work.conclude("Share of shared steps, uniform residual [1].", formulas.uniform_overlap(SYMPY, own, m))
    return work


@derivation
def decode_offset_with_kv_reads() -> Derivation:
    """Each step reads the KV tokens of all in the batch; they grow by one a request and step."""
    K = sp.IndexedBase("K", nonnegative=True)
    all_kv = sp.Symbol("K_i", nonnegative=True)
    work = Derivation(
        "KV reads enter the offset by the prompt, and the KV tokens on the instance as an indicator of their own.",
        {**PREFILL, **DECODE, **READS, K[k]: "KV tokens of request k as the decode begins", all_kv: "their sum"},
    )
    step = sp.Symbol("t", integer=True, nonnegative=True)
    mine = sp.Sum(gamma + c * (L + step), (step, 0, n_out - 1)).doit()
    theirs = sp.Sum(gamma + c * (K[k] + step), (step, 0, n_out - 1)).doit()
    work.equal("It slows each other one by", mine, n_out * gamma + c * (n_out * L + n_out * (n_out - 1) / 2))
    work.equal("The two together.", mine + theirs, formulas.pair_decode_delay(n_out, gamma, c, L, K[k]))
    kappa = formulas.kappa_with_kv_reads(tau, gamma, n_out, c, L)
    read = formulas.kv_read_delay(tau, n_out, c, all_kv)
    work.equal(
        "One pair is tau kappa and c n_out times the other's KV tokens.",
        mine + theirs,
        tau * (kappa + formulas.kv_read_delay(tau, n_out, c, K[k])),
    )
    alike = sp.Sum(sp.expand(mine + theirs - c * n_out * K[k]), (k, 1, B - 1)).doit()
    work.equal("Over the B - 1 pairs, all but the others' own KV tokens.", alike, tau * kappa * (B - 1))
    work.equal(
        "With prefill and those, but for a constant.",
        tau * formulas.marginal_delay(q, n, B) + alike + c * n_out * all_kv,
        tau * (formulas.marginal_delay(q, n, B, kappa) + read) - tau * kappa,
    )
    work.equal("Without reads the offset is the plain one.", kappa.subs(c, 0), formulas.kappa(tau, gamma, n_out))
    work.conclude("The offset with KV reads [token].", kappa)
    return work


@derivation
def kappa_caps_the_leverage() -> Derivation:
    """Solve the comparison of two scores for the ratio of the batches."""
    B_in, B_out, n_in, n_all, q_out, offset = sp.symbols("B_m B_m' n_m n_m' q_m' kappa", positive=True)
    work = Derivation(
        "The offset caps how much batch a hit can buy.",
        {B_in: "batch of the instance taken", B_out: "of another", n_in: "new tokens there", n_all: "on the other"},
    )
    cap = formulas.delay_leverage(n_all, q_out, B_out, n_in, offset)
    there = formulas.marginal_delay(q_out, n_all, B_out, offset)
    here = formulas.marginal_delay(0, n_in, B_in, offset)
    work.equal("At equal scores, nothing queued where it goes.", sp.solve(sp.Eq(here, there), B_in)[0] / B_out, cap)
    slope = sp.diff(formulas.delay_leverage(n_in + n_all, q_out, B_out, n_in, offset), offset)
    work.holds("A larger offset lowers the cap (the other has more new tokens).", slope, "<", 0)
    work.equal("It tends to 1.", sp.limit(cap, offset, sp.oo), 1)
    work.conclude("The most batch imbalance [1].", cap)
    return work
