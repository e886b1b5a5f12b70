CREATE ENTITY band (band BIGINT);

CREATE SOURCE applications (id BIGINT PRIMARY KEY, band BIGINT, amount DOUBLE, at TIMESTAMP) WITH (event_time = 'at', batch = 'applications.csv');

CREATE FEATURE VIEW asked ENTITY band AS
SELECT band, count(*) OVER d7 AS asked_7d FROM applications
WINDOW d7 AS (PARTITION BY band ORDER BY at RANGE BETWEEN INTERVAL '7 days' PRECEDING AND CURRENT ROW);

-- Two of everything, so that each side has a log, a training set and a model of its own.
CREATE FEATURE SERVICE closed AS SELECT CAST(r.band AS DOUBLE) AS band_number, a.asked_7d FROM REQUEST (band BIGINT) r LEFT JOIN asked a ON a.band = r.band;
CREATE FEATURE SERVICE open AS SELECT CAST(r.band AS DOUBLE) AS band_number, a.asked_7d FROM REQUEST (band BIGINT) r LEFT JOIN asked a ON a.band = r.band;

CREATE MODEL closed_risk FROM 'models/closed.onnx' USING closed (input => (band_number)) PREDICT (risk REAL FROM score);
CREATE MODEL open_risk FROM 'models/open.onnx' USING open (input => (band_number)) PREDICT (risk REAL FROM score);

-- Below a risk of 0.3 a loan is given.
CREATE DEPLOYMENT lend_closed AS closed_risk WITH (actions = ['approve', 'decline'], thresholds = [0.3]);
CREATE DEPLOYMENT lend_open AS open_risk WITH (actions = ['approve', 'decline'], thresholds = [0.3], explore = 0.1);
