"""Say how sure a share is."""

import math

Z_95 = 1.959964  # Two-sided 95% point of the normal distribution.


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Return the 95% interval of a share; (0, 1) where nothing was counted.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference"
    (1927). It holds for the small counts of rare classes, where the bootstrap doesn't.
    """
    if not count:
        return 0.0, 1.0
    share, spread = right / count, Z_95**2 / count
    middle = share + spread / 2
    reach = Z_95 * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    # At the ends rounding may step over by the smallest of numbers.
    return max(0.0, (middle - reach) / (1 + spread)), min(1.0, (middle + reach) / (1 + spread))
