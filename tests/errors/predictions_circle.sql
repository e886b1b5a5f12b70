CREATE FEATURE SERVICE delay AS SELECT a.p AS before FROM REQUEST (origin VARCHAR) r LEFT JOIN a ON a.airport = r.origin;
CREATE FEATURE SERVICE other AS SELECT b.p AS before FROM REQUEST (origin VARCHAR) r LEFT JOIN b ON b.airport = r.origin;
CREATE FEATURE SERVICE self AS SELECT c.p AS before FROM REQUEST (origin VARCHAR) r LEFT JOIN c ON c.airport = r.origin;
CREATE MODEL delay_v1 FROM 'late.onnx' USING delay (x => (*)) PREDICT (p DOUBLE);
CREATE MODEL other_v1 FROM 'late.onnx' USING other (x => (*)) PREDICT (p DOUBLE);
CREATE MODEL self_v1 FROM 'late.onnx' USING self (x => (*)) PREDICT (p DOUBLE);
CREATE DEPLOYMENT by_delay AS delay_v1;
CREATE DEPLOYMENT by_other AS other_v1;
CREATE DEPLOYMENT by_self AS self_v1;
CREATE PREDICTIONS a ENTITY airport (p DOUBLE) FROM by_other;
CREATE PREDICTIONS b ENTITY airport (p DOUBLE) FROM by_delay;
CREATE PREDICTIONS c ENTITY airport (p DOUBLE) FROM by_self;
CREATE FEATURE VIEW more ENTITY airport AS SELECT airport, last_value(p) OVER w AS p FROM a
WINDOW w AS (PARTITION BY airport ORDER BY computed_at ROWS BETWEEN 2 PRECEDING AND CURRENT ROW);
