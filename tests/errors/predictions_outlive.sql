CREATE FEATURE VIEW short ENTITY airport WITH (ttl = '6 hours') AS SELECT origin AS airport, count(*) OVER w AS n FROM departures
WINDOW w AS (PARTITION BY origin ORDER BY departed_at RANGE BETWEEN INTERVAL '1 hour' PRECEDING AND CURRENT ROW);
CREATE FEATURE SERVICE delay AS SELECT s.n FROM REQUEST (origin VARCHAR) r LEFT JOIN short s ON s.airport = r.origin;
CREATE MODEL late_v1 FROM 'late.onnx' USING delay (x => (*)) PREDICT (p DOUBLE);
CREATE DEPLOYMENT late AS late_v1;
CREATE PREDICTIONS day ENTITY airport (p DOUBLE) FROM late WITH (ttl = '1 day');
CREATE PREDICTIONS ever ENTITY airport (p DOUBLE) FROM late;
CREATE PREDICTIONS fine ENTITY airport (p DOUBLE) FROM late WITH (ttl = '6 hours');
CREATE FEATURE SERVICE again AS SELECT f.p FROM REQUEST (origin VARCHAR) r LEFT JOIN fine f ON f.airport = r.origin;
CREATE MODEL rank_v1 FROM 'rank.onnx' USING again (x => (*)) PREDICT (q DOUBLE);
CREATE DEPLOYMENT rank AS rank_v1;
CREATE PREDICTIONS cached ENTITY airport (q DOUBLE) FROM rank WITH (ttl = '7 hours');
