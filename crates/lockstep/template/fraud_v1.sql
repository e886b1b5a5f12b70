-- What a fraud model takes when somebody is about to pay.
CREATE FEATURE SERVICE fraud_v1 WITH ('default.avg_amount_7d' = 0) AS
SELECT r.amount                                AS amount,
       a.payments_1h                           AS payments_1h,
       a.spent_1h                              AS spent_1h,
       a.avg_amount_7d                         AS avg_amount_7d,
       r.amount / nullif(a.avg_amount_7d, 0.0) AS amount_against_usual,
       a.merchants_7d                          AS merchants_7d,
       a.last_country <> r.country             AS other_country
FROM REQUEST (card VARCHAR, amount DOUBLE, country VARCHAR) r
LEFT JOIN card_activity a ON a.card = r.card;
