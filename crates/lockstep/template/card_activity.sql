-- How a card has been used lately. An entity's values are gone thirty days after its last payment.
CREATE FEATURE VIEW card_activity ENTITY card WITH (ttl = '30 days', max_staleness = '1 minute', limit = 64) AS
SELECT card,
       count(*)                               OVER h1    AS payments_1h,
       sum(amount)                            OVER h1    AS spent_1h,
       count(*)                               OVER d7    AS payments_7d,
       avg(amount)                            OVER d7    AS avg_amount_7d,
       max(amount)                            OVER d7    AS max_amount_7d,
       count(DISTINCT merchant)               OVER d7    AS merchants_7d,
       count(*) FILTER (WHERE country <> 'DE') OVER d7   AS abroad_7d,
       avg(amount)                            OVER last3 AS avg_amount_last_3,
       last_value(country)                    OVER ever  AS last_country
FROM payments
WHERE amount > 0
WINDOW h1    AS (PARTITION BY card ORDER BY paid_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW),
       d7    AS (PARTITION BY card ORDER BY paid_at RANGE BETWEEN INTERVAL '7 days' PRECEDING AND CURRENT ROW),
       last3 AS (PARTITION BY card ORDER BY paid_at ROWS BETWEEN 2 PRECEDING AND CURRENT ROW),
       ever  AS (PARTITION BY card ORDER BY paid_at RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW);
